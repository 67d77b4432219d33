#include "client/libtorch/tensors.h"

#include <array>
#include <new>
#include <utility>

#include <fmt/ranges.h>

#include "proto/names.h"

namespace ckpt::libtorch {
namespace {

struct TypeRow {
  DType dtype;
  torch::ScalarType type;
  const char* name;
};

constexpr std::array<TypeRow, 12> kTypes = {{
    {DType::kF64, torch::kDouble, "torch.float64"},
    {DType::kF32, torch::kFloat, "torch.float32"},
    {DType::kF16, torch::kHalf, "torch.float16"},
    {DType::kBF16, torch::kBFloat16, "torch.bfloat16"},
    {DType::kI64, torch::kLong, "torch.int64"},
    {DType::kI32, torch::kInt, "torch.int32"},
    {DType::kI16, torch::kShort, "torch.int16"},
    {DType::kI8, torch::kChar, "torch.int8"},
    {DType::kU8, torch::kByte, "torch.uint8"},
    {DType::kBool, torch::kBool, "torch.bool"},
    {DType::kC64, torch::kComplexFloat, "torch.complex64"},
    {DType::kC128, torch::kComplexDouble, "torch.complex128"},
}};

// Whether the tensor's memory is, byte for byte, the entry's.
bool IsPlain(const torch::Tensor& tensor) {
  return tensor.device().is_cpu() && tensor.is_contiguous() && !tensor.is_conj() &&
         !tensor.is_neg();
}

}  // namespace

DType DTypeOf(torch::ScalarType type) {
  for (const TypeRow& row : kTypes) {
    if (row.type == type) return row.dtype;
  }
  return DType::kNone;
}

c10::optional<torch::ScalarType> ScalarTypeOf(DType dtype) {
  for (const TypeRow& row : kTypes) {
    if (row.dtype == dtype) return row.type;
  }
  return c10::nullopt;
}

std::string TorchDTypeName(DType dtype) {
  for (const TypeRow& row : kTypes) {
    if (row.dtype == dtype) return row.name;
  }
  return std::string(DTypeName(dtype));
}

std::string TorchSize(const std::vector<int64_t>& shape) {
  return fmt::format("torch.Size([{}])", fmt::join(shape, ", "));
}

absl::StatusOr<StateEntry> TensorEntry(std::string name, const torch::Tensor& tensor) {
  if (!tensor.defined()) {
    return BadField(name, fmt::format("Tensor {} is undefined; give it a value, or do not add it.",
                                      Printable(name)));
  }
  const DType dtype = DTypeOf(tensor.scalar_type());
  if (dtype == DType::kNone || tensor.layout() != torch::kStrided) {
    return BadField(name, fmt::format("Tensor {} is of {} ({}), which a checkpoint cannot hold; "
                                      "convert it to a dense one of a plain type.",
                                      Printable(name), c10::toString(tensor.scalar_type()),
                                      tensor.layout() == torch::kStrided ? "dense" : "not dense"));
  }
  StateEntry entry;
  entry.name = std::move(name);
  entry.dtype = dtype;
  entry.shape = tensor.sizes().vec();
  entry.length = tensor.nbytes();
  if (IsPlain(tensor)) {
    entry.data = tensor.data_ptr();
  } else {
    entry.copy = [tensor](std::span<std::byte> into) {
      return Guarded("copying a tensor", [&] {
        torch::NoGradGuard no_grad;
        torch::from_blob(into.data(), tensor.sizes(), tensor.scalar_type()).copy_(tensor);
        return absl::OkStatus();
      });
    };
  }
  return entry;
}

void LoadPlan::Into(const Entry& entry, const torch::Tensor& tensor) {
  if (entry.length == 0) return;
  torch::Tensor memory = tensor;
  if (!IsPlain(tensor)) {
    memory = torch::empty(tensor.sizes(), torch::dtype(tensor.scalar_type()));
    finish.push_back([tensor, memory]() mutable {
      torch::NoGradGuard no_grad;
      tensor.copy_(memory);
    });
  }
  Destination destination;
  destination.entry = entry.name;
  destination.data = static_cast<std::byte*>(memory.data_ptr());
  destinations.push_back(std::move(destination));
}

void LoadPlan::Append(LoadPlan more) {
  std::move(more.destinations.begin(), more.destinations.end(), std::back_inserter(destinations));
  std::move(more.finish.begin(), more.finish.end(), std::back_inserter(finish));
}

absl::Status StatusOfException(std::string_view doing, const std::exception& error) {
  if (dynamic_cast<const std::bad_alloc*>(&error) != nullptr) {
    return absl::ResourceExhaustedError(fmt::format("Not enough memory while {}.", doing));
  }
  const auto* torch_error = dynamic_cast<const c10::Error*>(&error);
  return absl::InternalError(
      fmt::format("LibTorch failed while {}: {}", doing,
                  torch_error ? torch_error->what_without_backtrace() : error.what()));
}

}  // namespace ckpt::libtorch
