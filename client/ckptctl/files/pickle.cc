#include "client/ckptctl/files/pickle.h"

#include <algorithm>
#include <bit>
#include <limits>

#include <fmt/format.h>

namespace ckpt::ctl {
namespace {

// Python's opcodes; the names are those of its pickletools.
enum Op : char {
  kProto = '\x80',
  kStop = '.',
  kMark = '(',
  kNone = 'N',
  kNewTrue = '\x88',
  kNewFalse = '\x89',
  kBinInt = 'J',
  kBinInt1 = 'K',
  kBinInt2 = 'M',
  kLong1 = '\x8a',
  kBinFloat = 'G',
  kBinUnicode = 'X',
  kEmptyList = ']',
  kAppends = 'e',
  kEmptyDict = '}',
  kSetItems = 'u',
  kEmptyTuple = ')',
  kTuple = 't',
  kGlobal = 'c',
  kReduce = 'R',
  kBinPersId = 'Q',
};

// torch's name for a storage, and for a dtype that has no storage class.
struct StorageName {
  const char* storage;
  const char* dtype;
};

StorageName StorageOf(DType dtype) {
  switch (dtype) {
    case DType::kF64:
      return {"DoubleStorage", nullptr};
    case DType::kF32:
      return {"FloatStorage", nullptr};
    case DType::kF16:
      return {"HalfStorage", nullptr};
    case DType::kBF16:
      return {"BFloat16Storage", nullptr};
    case DType::kI64:
      return {"LongStorage", nullptr};
    case DType::kI32:
      return {"IntStorage", nullptr};
    case DType::kI16:
      return {"ShortStorage", nullptr};
    case DType::kI8:
      return {"CharStorage", nullptr};
    case DType::kBool:
      return {"BoolStorage", nullptr};
    case DType::kC64:
      return {"ComplexFloatStorage", nullptr};
    case DType::kC128:
      return {"ComplexDoubleStorage", nullptr};
    case DType::kU16:
      return {nullptr, "uint16"};
    case DType::kU32:
      return {nullptr, "uint32"};
    case DType::kU64:
      return {nullptr, "uint64"};
    case DType::kF8E4M3:
      return {nullptr, "float8_e4m3fn"};
    case DType::kF8E5M2:
      return {nullptr, "float8_e5m2"};
    case DType::kU8:
    case DType::kNone:
      break;
  }
  return {"ByteStorage", nullptr};
}

class Pickler {
 public:
  std::string Run(const PyValue& value) {
    Put(kProto);
    Byte(2);
    Emit(value);
    Put(kStop);
    return std::move(out_);
  }

 private:
  void Put(Op op) { out_ += static_cast<char>(op); }
  void Byte(uint8_t byte) { out_ += static_cast<char>(byte); }
  void Little(uint64_t value, int bytes) {
    for (int i = 0; i < bytes; ++i) Byte(static_cast<uint8_t>(value >> (8 * i)));
  }
  void Global(std::string_view module, std::string_view name) {
    Put(kGlobal);
    out_ += fmt::format("{}\n{}\n", module, name);
  }

  void Emit(const PyValue& value) {
    std::visit([this](const auto& v) { Emit(v); }, value.get());
  }
  void Emit(const PyNone&) { Put(kNone); }
  void Emit(bool value) { Put(value ? kNewTrue : kNewFalse); }
  void Emit(int64_t value) {
    if (value >= 0 && value < 256) {
      Put(kBinInt1);
      Little(static_cast<uint64_t>(value), 1);
    } else if (value >= 0 && value < 65536) {
      Put(kBinInt2);
      Little(static_cast<uint64_t>(value), 2);
    } else if (value >= std::numeric_limits<int32_t>::min() &&
               value <= std::numeric_limits<int32_t>::max()) {
      Put(kBinInt);
      Little(static_cast<uint64_t>(value), 4);
    } else {
      Put(kLong1);  // a length, then two's complement
      Byte(8);
      Little(static_cast<uint64_t>(value), 8);
    }
  }
  void Emit(double value) {
    Put(kBinFloat);  // big-endian, alone among the opcodes
    const auto bits = std::bit_cast<uint64_t>(value);
    for (int shift = 56; shift >= 0; shift -= 8) Byte(static_cast<uint8_t>(bits >> shift));
  }
  void Emit(const std::string& value) {
    Put(kBinUnicode);
    Little(value.size(), 4);
    out_ += value;
  }
  void Emit(const PyList& list) {
    Put(kEmptyList);
    if (list.items.empty()) return;
    Put(kMark);
    for (const PyValue& item : list.items) Emit(item);
    Put(kAppends);
  }
  void Emit(const PyTuple& tuple) {
    if (tuple.items.empty()) return Put(kEmptyTuple);
    Put(kMark);
    for (const PyValue& item : tuple.items) Emit(item);
    Put(kTuple);
  }
  void Emit(const PyDict& dict) {
    if (dict.ordered) {
      EmptyOrderedDict();
    } else {
      Put(kEmptyDict);
    }
    if (dict.items.empty()) return;
    Put(kMark);
    for (const auto& [key, item] : dict.items) {
      Emit(key);
      Emit(item);
    }
    Put(kSetItems);
  }
  void EmptyOrderedDict() {
    Global("collections", "OrderedDict");
    Put(kEmptyTuple);
    Put(kReduce);
  }
  // _rebuild_tensor_v2(storage, offset, size, stride, requires_grad, hooks),
  // and v3, which adds the dtype, for those without a storage class.
  void Emit(const PyTensor& tensor) {
    const StorageName name = StorageOf(tensor.dtype);
    int64_t elements = 1;
    for (int64_t n : tensor.shape) elements *= n;
    PyTuple size, stride;
    for (int64_t n : tensor.shape) size.items.emplace_back(n);
    int64_t step = 1;
    for (auto n = tensor.shape.rbegin(); n != tensor.shape.rend(); ++n) {
      stride.items.insert(stride.items.begin(), PyValue(step));
      step *= std::max<int64_t>(*n, 1);
    }
    Global("torch._utils", name.storage ? "_rebuild_tensor_v2" : "_rebuild_tensor_v3");
    Put(kMark);
    Put(kMark);
    Emit(std::string("storage"));
    if (name.storage) {
      Global("torch", name.storage);
    } else {
      Global("torch.storage", "UntypedStorage");
      elements *= static_cast<int64_t>(ElementBytes(tensor.dtype));
    }
    Emit(tensor.key);
    Emit(std::string("cpu"));
    Emit(elements);
    Put(kTuple);
    Put(kBinPersId);
    Emit(int64_t{0});
    Emit(size);
    Emit(stride);
    Emit(false);
    EmptyOrderedDict();
    if (name.dtype) Global("torch", name.dtype);
    Put(kTuple);
    Put(kReduce);
  }

  std::string out_;
};

}  // namespace

void PyDict::Set(PyValue key, PyValue value) {
  items.emplace_back(std::move(key), std::move(value));
}

std::string Pickle(const PyValue& value) { return Pickler().Run(value); }

}  // namespace ckpt::ctl
