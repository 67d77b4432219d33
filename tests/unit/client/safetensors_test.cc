#include "client/safetensors.h"

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ckpt {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr char kA[] = R"("a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]})";

TEST(SafetensorsHeader, Table) {
  struct {
    std::string json;
    uint64_t data_bytes;
    const char* error;  // null: good
  } const kCases[] = {
      {"{}", 0, nullptr},
      {"{}      ", 0, nullptr},
      {std::string("{") + kA + "}", 8, nullptr},
      {R"({"__metadata__":{"format":"pt"},"a":{"shape":[],"data_offsets":[0,2],"dtype":"BF16"}})",
       2, nullptr},
      // In any order, and an empty tensor between.
      {R"({"b":{"dtype":"U8","shape":[3],"data_offsets":[8,11]},)"
       R"("e":{"dtype":"F32","shape":[0,4],"data_offsets":[8,8]},)" +
           std::string(kA) + "}",
       11, nullptr},
      {"", 0, "begin with {"},
      {" {}", 0, "begin with {"},
      {"[]", 0, "begin with {"},
      {"{", 0, "no JSON"},
      {"{}x", 0, "no JSON"},
      {std::string("{\"a\0b", 5), 0, "no JSON"},
      {"{\"\xff\":1}", 0, "no JSON"},
      {R"({"a":1})", 0, "stands where it must not"},
      {R"({"a":null})", 0, "null stands"},
      {R"({"a":[]})", 0, "an array stands"},
      {R"({"a":{}})", 0, "no dtype"},
      {R"({"a":{"dtype":"F32","shape":[]}})", 0, "no data_offsets"},
      {R"({"a":{"dtype":"F31","shape":[],"data_offsets":[0,4]}})", 4, "unknown"},
      {R"({"a":{"dtype":"C64","shape":[],"data_offsets":[0,8]}})", 8, "unknown"},
      {R"({"a":{"dtype":"bytes","shape":[],"data_offsets":[0,8]}})", 8, "unknown"},
      {R"({"a":{"dtype":3,"shape":[],"data_offsets":[0,4]}})", 4, "stands where"},
      {R"({"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}})", 4, "-1"},
      {R"({"a":{"dtype":"F32","shape":[1.5],"data_offsets":[0,4]}})", 4, "1.5"},
      {R"({"a":{"dtype":"F32","shape":[[1]],"data_offsets":[0,4]}})", 4, "an array"},
      {R"({"a":{"dtype":"F32","shape":[18446744073709551615],"data_offsets":[0,4]}})", 4,
       "dimension"},
      {R"({"a":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,4]}})", 4,
       "64 bits"},
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}})", 4, "has 4 bytes of data"},
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}})", 4, "[begin, end]"},
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0]}})", 4, "[begin, end]"},
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4,4]}})", 4, "[begin, end]"},
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})", 8, "hole"},
      {std::string("{") + kA + R"(,"b":{"dtype":"U8","shape":[1],"data_offsets":[7,8]}})", 8,
       "overlap"},
      {std::string("{") + kA + "," + kA + "}", 8, "twice"},
      {std::string("{") + kA + "}", 7, "cut short"},
      {std::string("{") + kA + "}", 9, "belong to none"},
      {R"({"a":{"dtype":"F32","dtype":"F32","shape":[1],"data_offsets":[0,4]}})", 4, "twice"},
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4],"x":1}})", 4, "unknown field"},
      {R"({"":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", 4, "entry name has 0 bytes"},
      {R"({"a\n":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", 4, "control character"},
      {R"({"__metadata__":{"a":1}})", 0, "text to text"},
      {R"({"__metadata__":[]})", 0, "text to text"},
      {R"({"__metadata__":{"a":{}}})", 0, "text to text"},
      {R"({"__metadata__":{"a":"1","a":"2"}})", 0, "twice"},
      {R"({"__metadata__":{},"__metadata__":{}})", 0, "twice"},
      {std::string(100'000, '['), 0, "begin with {"},
      {"{\"a\":" + std::string(100'000, '['), 0, "an array stands"},
  };
  for (const auto& c : kCases) {
    const auto header = ParseSafetensorsHeader(c.json, c.data_bytes);
    const std::string shown = c.json.substr(0, 120);
    if (c.error == nullptr) {
      EXPECT_TRUE(header.ok()) << shown << ": " << header.status();
    } else {
      EXPECT_EQ(header.status().code(), absl::StatusCode::kInvalidArgument) << shown;
      EXPECT_THAT(std::string(header.status().message()), HasSubstr(c.error)) << shown;
    }
  }
}

class SafetensorsFileTest : public ::testing::Test {
 protected:
  SafetensorsFileTest() {
    std::string name = ::testing::TempDir() + "/safetensors.XXXXXX";
    directory_ = ::mkdtemp(name.data());
    path_ = directory_ + "/state.safetensors";
  }
  ~SafetensorsFileTest() override { std::filesystem::remove_all(directory_); }

  void WriteTwoTensors() {
    auto writer =
        SafetensorsWriter::Create(path_,
                                  {{.name = "bytes", .dtype = DType::kU8, .shape = {3}},
                                   {.name = "model/w", .dtype = DType::kF64, .shape = {2, 1}},
                                   {.name = "scalar", .dtype = DType::kI64}},
                                  {{"step", "7"}});
    ASSERT_TRUE(writer.ok()) << writer.status();
    const double w[2] = {1.5, -2};
    const int64_t scalar = 42;
    ASSERT_TRUE((*writer)->Write("bytes", 0, std::as_bytes(std::span("abc", 3))).ok());
    ASSERT_TRUE((*writer)->Write("scalar", 0, std::as_bytes(std::span(&scalar, 1))).ok());
    ASSERT_TRUE((*writer)->Write("model/w", 8, std::as_bytes(std::span(&w[1], 1))).ok());
    ASSERT_TRUE((*writer)->Write("model/w", 0, std::as_bytes(std::span(&w[0], 1))).ok());
    ASSERT_TRUE((*writer)->Finish().ok());
  }
  std::string Contents() {
    std::ifstream file(path_, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  void WriteRaw(const std::string& bytes) {
    std::ofstream(path_, std::ios::binary | std::ios::trunc) << bytes;
  }

  std::string directory_, path_;
};

TEST_F(SafetensorsFileTest, ReadsBackWhatItWrote) {
  WriteTwoTensors();
  auto file = SafetensorsFile::Open(path_);
  ASSERT_TRUE(file.ok()) << file.status();
  const SafetensorsHeader& header = (*file)->header();
  std::vector<std::string> names;
  for (const Entry& entry : header.entries) {
    names.push_back(entry.name);
    EXPECT_EQ((header.data_begin + entry.offset) % ElementBytes(entry.dtype), 0u) << entry.name;
  }
  EXPECT_THAT(names, ElementsAre("model/w", "scalar", "bytes"));
  EXPECT_EQ(header.data_begin % 8, 0u);
  EXPECT_EQ(header.metadata.at("step"), "7");
  double w[2];
  ASSERT_TRUE((*file)->Read(0, 0, std::as_writable_bytes(std::span(w))).ok());
  EXPECT_THAT(w, ElementsAre(1.5, -2));
  char last;
  ASSERT_TRUE((*file)->Read(2, 2, std::as_writable_bytes(std::span(&last, 1))).ok());
  EXPECT_EQ(last, 'c');
  EXPECT_EQ((*file)->Read(2, 3, std::as_writable_bytes(std::span(&last, 1))).code(),
            absl::StatusCode::kInvalidArgument);
}

TEST_F(SafetensorsFileTest, EveryCutAndEveryFlippedLengthIsRefused) {
  WriteTwoTensors();
  const std::string whole = Contents();
  for (size_t size = 0; size < whole.size(); ++size) {
    WriteRaw(whole.substr(0, size));
    const absl::Status status = SafetensorsFile::Open(path_).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << size;
    EXPECT_THAT(std::string(status.message()), HasSubstr("no whole .safetensors file")) << size;
  }
  for (size_t byte = 0; byte < 8; ++byte) {
    std::string bad = whole;
    bad[byte] ^= 0x41;
    WriteRaw(bad);
    EXPECT_FALSE(SafetensorsFile::Open(path_).ok()) << byte;
  }
}

TEST_F(SafetensorsFileTest, GarbageAndAbsentFilesGetOneSentence) {
  EXPECT_EQ(SafetensorsFile::Open(path_).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(SafetensorsFile::Open(directory_).status().code(), absl::StatusCode::kInvalidArgument);
  WriteRaw(std::string(1000, 'x'));
  EXPECT_THAT(std::string(SafetensorsFile::Open(path_).status().message()), HasSubstr("at most"));
}

TEST_F(SafetensorsFileTest, WithoutFinishNothingIsLeft) {
  {
    auto writer =
        SafetensorsWriter::Create(path_, {{.name = "a", .dtype = DType::kU8, .shape = {1}}}, {});
    ASSERT_TRUE(writer.ok());
    EXPECT_EQ((*writer)->Write("b", 0, {}).code(), absl::StatusCode::kNotFound);
    EXPECT_FALSE((*writer)->Write("a", 1, std::as_bytes(std::span("x", 1))).ok());
  }
  EXPECT_TRUE(std::filesystem::is_empty(directory_));
}

TEST_F(SafetensorsFileTest, RefusesWhatTheFormatCannotHold) {
  const std::vector<std::vector<Entry>> kCases = {
      {{.name = "a", .dtype = DType::kC64}},
      {{.name = "a", .length = 3}},
      {{.name = "a", .dtype = DType::kU8}, {.name = "a", .dtype = DType::kU8}},
      {{.name = "__metadata__", .dtype = DType::kU8}},
  };
  for (size_t i = 0; i < kCases.size(); ++i) {
    EXPECT_EQ(SafetensorsWriter::Create(path_, kCases[i], {}).status().code(),
              absl::StatusCode::kInvalidArgument)
        << i;
  }
}

}  // namespace
}  // namespace ckpt
