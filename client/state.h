// A training state on its way into a checkpoint: an ordered list of named
// values, and the convention by which a training state names them.
//
// Names: every entry of a training state is `<object>/<key>`, or `<object>`
// alone for an object of a single value:
//
//   model/<parameter or buffer name>        tensors; names as in PyTorch's state_dict
//   optimizer/state/<parameter index>/<key> tensors (exp_avg, momentum_buffer, step, ...)
//   rng/cpu, rng/cuda/<n>                   bytes: the generator's state
//   <name>                                  an extra tensor or bytes the caller named
//   ckpt.json                               bytes: the document below, UTF-8 JSON
//
// `ckpt.json` says what the objects are, and holds what is no tensor:
//
//   {"format": "ckpt.state.v1",
//    "objects": {
//      "model":      {"kind": "module", "keys": ["fc.weight", ...]},
//      "optimizer":  {"kind": "optimizer", "type": "AdamW",
//                     "param_groups": [{"lr": 0.001, "betas": [0.9, 0.999], ...,
//                                       "params": [0, 1, ...]}, ...],
//                     "state_keys": {"0": ["exp_avg", "exp_avg_sq", "step"], ...}},
//      "scheduler":  {"kind": "scheduler", "type": "StepLR", "state": {...}},
//      "sampler":    {"kind": "sampler", "state": {...}},
//      "rng":        {"kind": "rng"},
//      "epoch":      {"kind": "value", "value": 3},
//      "note":       {"kind": "bytes"},
//      "extra":      {"kind": "tensor"}}}
//
// An object that the document does not name is left alone by readers. Several
// modules or optimizers have several names. Finite doubles are JSON numbers
// (shortest form that reads back to the same bits); NaN and infinities, which
// JSON lacks, are {"$float": "nan" | "inf" | "-inf"}.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "proto/model.h"
#include "proto/status.h"

namespace ckpt {

inline constexpr char kStateDocument[] = "ckpt.json";
inline constexpr char kStateFormat[] = "ckpt.state.v1";

// One value. Exactly one of `data`, `owned` and `copy` gives the bytes (an
// entry of length 0 needs none).
struct StateEntry {
  std::string name;
  DType dtype = DType::kNone;  // kNone: opaque bytes
  std::vector<int64_t> shape;
  std::vector<int64_t> global_shape;  // both empty: not a slice of a larger tensor
  std::vector<int64_t> global_offset;
  uint64_t length = 0;

  const void* data = nullptr;  // the caller keeps it until Save returned
  std::string owned;
  // Copies the value's bytes (a tensor on a device, or not contiguous).
  std::function<absl::Status(std::span<std::byte>)> copy;
};

class State {
 public:
  // Views `data`; its length follows from dtype and shape when the state is saved.
  void AddTensor(std::string name, DType dtype, std::vector<int64_t> shape, const void* data);
  // Owns `bytes`.
  void AddBytes(std::string name, std::string bytes);
  // Views `size` bytes at `data`.
  void AddBytesView(std::string name, const void* data, size_t size);
  void Add(StateEntry entry) { entries_.push_back(std::move(entry)); }

  const std::vector<StateEntry>& entries() const { return entries_; }

 private:
  std::vector<StateEntry> entries_;
};

// The entries of a manifest (no offsets yet), lengths filled in and checked:
// INVALID_ARGUMENT names the entry.
absl::StatusOr<std::vector<Entry>> ManifestEntries(const State& state);
// Copies the bytes of `entry` to `into`, which has its length.
absl::Status CopyOut(const StateEntry& entry, std::span<std::byte> into);

// Doubles in `ckpt.json`.
nlohmann::json DoubleToJson(double value);
// Nothing unless `json` is a number or a {"$float": ...}.
std::optional<double> DoubleFromJson(const nlohmann::json& json);
// The document as bytes, and back. INVALID_ARGUMENT: no JSON, or of a format
// that this version does not know.
std::string DumpStateDocument(const nlohmann::json& document);
absl::StatusOr<nlohmann::json> ParseStateDocument(const std::string& bytes);

}  // namespace ckpt
