// The states that are saved, and a file of the same bytes for those who take files.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <torch/types.h>

#include "client/state.h"

namespace ckpt::bench {

struct Named {
  std::string name;
  torch::Tensor tensor;
};
using Tensors = std::vector<Named>;

// float32 of a multiple of 64 MiB in large tensors: per 64 MiB two matrices of
// some size, a middling one and a vector. The memory is touched.
Tensors FlatTensors(uint64_t bytes);
// GPT-2 small (124 million parameters) with what AdamW keeps: 592 tensors of 4
// bytes to 154 MB, 1.49 GB in all.
Tensors Gpt2Tensors();

uint64_t BytesOf(const Tensors& tensors);
// New random bytes, which were nowhere before, in the first `bytes` of them.
void Refill(Tensors& tensors, uint64_t bytes);
inline void Refill(Tensors& tensors) { Refill(tensors, BytesOf(tensors)); }
// Views the tensors.
State StateOf(const Tensors& tensors);
// Ends the process unless both hold the same bytes.
void MustEqual(const Tensors& pushed, const Tensors& fetched);

// Seconds of one plain memcpy of all the tensors, by one thread, into memory in
// huge pages that was written before.
double CopyOnce(const Tensors& tensors);

// A file in memory (tmpfs) with as many random bytes; removed with its object.
class StateFile {
 public:
  StateFile(std::string path, uint64_t bytes);
  ~StateFile();
  StateFile(const StateFile&) = delete;
  StateFile& operator=(const StateFile&) = delete;

  // As Refill does.
  void Refill(uint64_t bytes);
  const std::string& path() const { return path_; }
  uint64_t bytes() const { return bytes_; }

 private:
  const std::string path_;
  const uint64_t bytes_;
};

}  // namespace ckpt::bench
