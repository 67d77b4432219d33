#include "client/ckptctl/files/pickle.h"

#include <gtest/gtest.h>

namespace ckpt::ctl {
namespace {

using namespace std::string_literals;

// Opcodes as Python's pickletools names them.
TEST(Pickle, WritesGoldenBytes) {
  PyDict dict;
  dict.Set("a", 1);
  const struct {
    const char* what;
    PyValue value;
    std::string pickle;
  } kCases[] = {
      {"None", PyNone{}, "\x80\x02N."s},
      {"True", true, "\x80\x02\x88."s},
      {"False", false, "\x80\x02\x89."s},
      {"small int", 255, "\x80\x02K\xff."s},
      {"two bytes", 256, "\x80\x02M\x00\x01."s},
      {"four bytes", 65536, "\x80\x02J\x00\x00\x01\x00."s},
      {"negative", -1, "\x80\x02J\xff\xff\xff\xff."s},
      {"long", int64_t{1} << 40, "\x80\x02\x8a\x08\x00\x00\x00\x00\x00\x01\x00\x00."s},
      {"float", 1.5, "\x80\x02G\x3f\xf8\x00\x00\x00\x00\x00\x00."s},
      {"text", "hi", "\x80\x02X\x02\x00\x00\x00hi."s},
      {"empty list", PyList{}, "\x80\x02]."s},
      {"list", PyList{{1, 2}},
       "\x80\x02](K\x01K\x02"
       "e."s},
      {"empty tuple", PyTuple{}, "\x80\x02)."s},
      {"tuple", PyTuple{{1, 2}}, "\x80\x02(K\x01K\x02t."s},
      {"empty dict", PyDict{}, "\x80\x02}."s},
      {"dict", dict,
       "\x80\x02}(X\x01\x00\x00\x00"
       "aK\x01u."s},
      {"ordered dict", PyDict{{}, true},
       "\x80\x02"
       "ccollections\nOrderedDict\n)R."s},
  };
  for (const auto& c : kCases) EXPECT_EQ(Pickle(c.value), c.pickle) << c.what;
}

TEST(Pickle, WritesATensorAsTorchDoes) {
  const std::string expected =
      "\x80\x02"
      "ctorch._utils\n_rebuild_tensor_v2\n"
      "("
      "(X\x07\x00\x00\x00storage"
      "ctorch\nFloatStorage\n"
      "X\x01\x00\x00\x00"
      "7X\x03\x00\x00\x00"
      "cpuK\x06tQ"    // six elements
      "K\x00"         // offset
      "(K\x02K\x03t"  // size
      "(K\x03K\x01t"  // stride
      "\x89"          // no gradient
      "ccollections\nOrderedDict\n)R"
      "tR."s;
  EXPECT_EQ(Pickle(PyTensor{DType::kF32, {2, 3}, "7"}), expected);
}

TEST(Pickle, NamesAStorageForEveryDType) {
  const std::pair<DType, const char*> kCases[] = {
      {DType::kF64, "torch\nDoubleStorage\n"},
      {DType::kF16, "torch\nHalfStorage\n"},
      {DType::kBF16, "torch\nBFloat16Storage\n"},
      {DType::kI64, "torch\nLongStorage\n"},
      {DType::kI32, "torch\nIntStorage\n"},
      {DType::kI16, "torch\nShortStorage\n"},
      {DType::kI8, "torch\nCharStorage\n"},
      {DType::kU8, "torch\nByteStorage\n"},
      {DType::kBool, "torch\nBoolStorage\n"},
      {DType::kC64, "torch\nComplexFloatStorage\n"},
      {DType::kC128, "torch\nComplexDoubleStorage\n"},
      {DType::kU16, "torch\nuint16\n"},
      {DType::kU32, "torch\nuint32\n"},
      {DType::kU64, "torch\nuint64\n"},
      {DType::kF8E4M3, "torch\nfloat8_e4m3fn\n"},
      {DType::kF8E5M2, "torch\nfloat8_e5m2\n"},
  };
  for (const auto& [dtype, name] : kCases) {
    const std::string pickle = Pickle(PyTensor{dtype, {1}, "0"});
    EXPECT_NE(pickle.find(name), std::string::npos) << name;
  }
}

}  // namespace
}  // namespace ckpt::ctl
