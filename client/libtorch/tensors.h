// Tensors as entries of a checkpoint, and the line that no exception of
// LibTorch crosses.
#pragma once

#include <exception>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include <torch/types.h>

#include "client/download.h"
#include "client/state.h"

namespace ckpt::libtorch {

// kNone for types that a checkpoint cannot hold (quantized ones).
DType DTypeOf(torch::ScalarType type);
// Nothing for what LibTorch 1.13 has no type for (U16, F8, ...) and kNone.
c10::optional<torch::ScalarType> ScalarTypeOf(DType dtype);
// "torch.float32", as Python prints it.
std::string TorchDTypeName(DType dtype);
// "torch.Size([2, 10])".
std::string TorchSize(const std::vector<int64_t>& shape);

// `tensor` as an entry. A dense contiguous tensor in main memory is viewed;
// any other is copied straight into the staging buffer when the state is
// saved. INVALID_ARGUMENT: undefined, sparse, or of a type that no checkpoint
// holds.
absl::StatusOr<StateEntry> TensorEntry(std::string name, const torch::Tensor& tensor);

// What is to be done once a checkpoint has been found to fit: bytes to fetch,
// and then steps that put in place what cannot be fetched into place.
struct LoadPlan {
  std::vector<Destination> destinations;
  std::vector<std::function<void()>> finish;

  // Fetches `entry` into `tensor`, which has its shape and dtype.
  void Into(const Entry& entry, const torch::Tensor& tensor);
  // After what is planned already.
  void Append(LoadPlan more);
};

// Calls `fn`, which returns a Status or StatusOr, and turns what LibTorch
// throws into INTERNAL (RESOURCE_EXHAUSTED for want of memory).
absl::Status StatusOfException(std::string_view doing, const std::exception& error);
template <class Fn>
auto Guarded(std::string_view doing, Fn&& fn) -> decltype(fn()) {
  try {
    return fn();
  } catch (const std::exception& error) {
    return StatusOfException(doing, error);
  }
}

}  // namespace ckpt::libtorch
