// Python values, as far as a .pt file needs them, and their pickle.
//
// What Pickle() writes loads with torch.load, also with weights_only=True: it
// uses no global but tensors', storages' and collections.OrderedDict.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "proto/model.h"

namespace ckpt::ctl {

class PyValue;

struct PyNone {};
// A contiguous tensor whose bytes are the archive's record "data/KEY".
struct PyTensor {
  DType dtype = DType::kU8;
  std::vector<int64_t> shape;
  std::string key;
};
struct PyList {
  std::vector<PyValue> items;
};
struct PyTuple {
  std::vector<PyValue> items;
};
// Keeps the order of insertion; keys are not compared.
struct PyDict {
  std::vector<std::pair<PyValue, PyValue>> items;
  bool ordered = false;  // a collections.OrderedDict

  void Set(PyValue key, PyValue value);
};

class PyValue {
 public:
  using Variant =
      std::variant<PyNone, bool, int64_t, double, std::string, PyTensor, PyList, PyTuple, PyDict>;

  PyValue() = default;
  PyValue(PyNone) {}                                           // NOLINT
  PyValue(bool value) : value_(value) {}                       // NOLINT
  PyValue(int64_t value) : value_(value) {}                    // NOLINT
  PyValue(int value) : value_(static_cast<int64_t>(value)) {}  // NOLINT
  PyValue(double value) : value_(value) {}                     // NOLINT
  PyValue(std::string value) : value_(std::move(value)) {}     // NOLINT
  PyValue(const char* value) : value_(std::string(value)) {}   // NOLINT
  PyValue(PyTensor value) : value_(std::move(value)) {}        // NOLINT
  PyValue(PyList value) : value_(std::move(value)) {}          // NOLINT
  PyValue(PyTuple value) : value_(std::move(value)) {}         // NOLINT
  PyValue(PyDict value) : value_(std::move(value)) {}          // NOLINT

  const Variant& get() const { return value_; }

 private:
  Variant value_;
};

// The pickle in protocol 2, which every Python 3 reads.
std::string Pickle(const PyValue& value);

}  // namespace ckpt::ctl
