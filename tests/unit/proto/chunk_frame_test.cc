#include "proto/chunk_frame.h"

#include <atomic>
#include <random>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ckpt/v1/types.pb.h"
#include "proto/limits.h"

namespace ckpt {
namespace {

std::string Joined(const std::vector<grpc::Slice>& slices) {
  std::string bytes;
  for (const grpc::Slice& slice : slices) {
    bytes.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
  }
  return bytes;
}

std::string Wire(const grpc::ByteBuffer& buffer) {
  std::vector<grpc::Slice> slices;
  EXPECT_TRUE(buffer.Dump(&slices).ok());
  return Joined(slices);
}

// `bytes` as gRPC may deliver them: in pieces cut anywhere, some of them empty.
grpc::ByteBuffer InPieces(std::string_view bytes, std::mt19937_64& random) {
  std::vector<grpc::Slice> slices;
  while (!bytes.empty()) {
    const size_t size = std::min<size_t>(bytes.size(), random() % 40);
    slices.emplace_back(bytes.data(), size);
    bytes.remove_prefix(size);
  }
  return {slices.data(), slices.size()};
}

grpc::ByteBuffer InOnePiece(const std::string& bytes) {
  const grpc::Slice slice(bytes);
  return {&slice, 1};
}

v1::ChunkFrame Message(const std::string& upload_id, uint32_t chunk_index, bool end,
                       const std::string& data) {
  v1::ChunkFrame message;
  message.set_upload_id(upload_id);
  message.set_chunk_index(chunk_index);
  message.set_end(end);
  message.set_data(data);
  return message;
}

std::vector<v1::ChunkFrame> Messages() {
  return {Message("", 0, false, ""),
          Message("upload-1", 0, false, "bytes"),
          Message("", 7, false, std::string(1000, 'x')),
          Message("", UINT32_MAX, false, std::string(kMaxChunkBytes, '\xff')),
          Message(std::string(kMaxNameBytes, 'u'), 127, false, std::string(1, '\0')),
          Message("", 128, false, std::string(128, 'y')),
          Message("", 0, true, "")};
}

void ExpectEqual(const ChunkFrame& frame, const v1::ChunkFrame& message) {
  EXPECT_EQ(frame.upload_id, message.upload_id());
  EXPECT_EQ(frame.chunk_index, message.chunk_index());
  EXPECT_EQ(frame.end, message.end());
  EXPECT_EQ(frame.data_bytes(), message.data().size());
  EXPECT_TRUE(Joined(frame.data) == message.data());
}

TEST(ChunkFrame, IsReadAsProtobufWroteIt) {
  std::mt19937_64 random(1);
  for (const v1::ChunkFrame& message : Messages()) {
    const std::string wire = message.SerializeAsString();
    for (const grpc::ByteBuffer& buffer : {InOnePiece(wire), InPieces(wire, random)}) {
      const auto frame = DecodeFrame(buffer);
      ASSERT_TRUE(frame.ok()) << frame.status();
      ExpectEqual(*frame, message);
    }
  }
}

TEST(ChunkFrame, IsWrittenSoThatProtobufReadsIt) {
  for (const v1::ChunkFrame& message : Messages()) {
    ChunkFrame frame{message.upload_id(), message.chunk_index(), message.end(), {}};
    const std::string& data = message.data();
    frame.data.emplace_back(data.substr(0, data.size() / 3));
    frame.data.emplace_back(data.substr(data.size() / 3));

    const grpc::ByteBuffer buffer = EncodeFrame(frame);

    v1::ChunkFrame read;
    ASSERT_TRUE(read.ParseFromString(Wire(buffer)));
    ExpectEqual(frame, read);
    const auto decoded = DecodeFrame(buffer);
    ASSERT_TRUE(decoded.ok()) << decoded.status();
    ExpectEqual(*decoded, message);
  }
}

TEST(ChunkFrame, TakesFieldsInAnyOrderTheLastOneCounting) {
  const std::string parts[] = {Message("", 0, false, "first").SerializeAsString(),
                               Message("", 5, false, "").SerializeAsString(),
                               Message("up", 0, false, "").SerializeAsString(),
                               Message("", 6, false, "second").SerializeAsString()};

  const auto frame = DecodeFrame(InOnePiece(parts[0] + parts[1] + parts[2] + parts[3]));

  ASSERT_TRUE(frame.ok()) << frame.status();
  ExpectEqual(*frame, Message("up", 6, false, "second"));
}

TEST(ChunkFrame, SkipsFieldsThatItDoesNotKnow) {
  const v1::ChunkFrame message = Message("up", 3, false, "data");
  const std::string known = message.SerializeAsString();
  for (const std::string& unknown : {
           std::string("\x48\x96\x01", 3),  // 9: varint
           std::string("\x49"
                       "12345678",
                       9),  // 9: 64 bits
           std::string("\x4d"
                       "1234",
                       5),  // 9: 32 bits
           std::string("\x4a\x03"
                       "abc",
                       5),                              // 9: bytes
           std::string("\x4a\x00", 2),                  // 9: no bytes
           std::string("\xf8\xff\xff\xff\x0f\x01", 6),  // 536870911: varint
           std::string("\x09"
                       "12345678",
                       9),  // 1 of another type
           std::string("\x80\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 12),  // 16: 2^64-1
       }) {
    for (const std::string& wire : {unknown + known, known + unknown}) {
      const auto frame = DecodeFrame(InOnePiece(wire));
      ASSERT_TRUE(frame.ok()) << frame.status();
      ExpectEqual(*frame, message);
    }
  }
}

TEST(ChunkFrame, RefusesWhatIsNone) {
  const auto varint = [](uint64_t value) {
    std::string out;
    for (; value >= 0x80; value >>= 7) out += static_cast<char>(value | 0x80);
    return out + static_cast<char>(value);
  };
  struct Case {
    const char* says;
    std::string wire;
  };
  for (const Case& c : {
           Case{"a lone tag", "\x08"},
           Case{"field number 0", std::string("\x00\x01", 2)},
           Case{"a varint without end", std::string(20, '\xff')},
           Case{"a group", "\x4b\x4c"},
           Case{"a wire type that is none", "\x4f"},
           Case{"data shorter than announced",
                "\x7a\x05"
                "abc"},
           Case{"an upload id shorter than announced",
                "\x0a\x05"
                "abc"},
           Case{"an unknown field shorter than announced",
                "\x4a\x05"
                "abc"},
           Case{"an unknown field longer than all memory", "\x4a" + varint(UINT64_MAX) + "abc"},
           Case{"data longer than a chunk",
                "\x7a" + varint(kMaxChunkBytes + 1) + std::string(kMaxChunkBytes + 1, 'x')},
           Case{"data longer than all memory", "\x7a" + varint(UINT64_MAX) + "abc"},
           Case{"an upload id too long", "\x0a" + varint(10000) + std::string(10000, 'x')},
           Case{"a chunk index past 32 bits", "\x10" + varint(uint64_t{1} << 32)},
       }) {
    const auto frame = DecodeFrame(InOnePiece(c.wire));
    EXPECT_FALSE(frame.ok()) << c.says;
    EXPECT_EQ(frame.status().code(), absl::StatusCode::kInvalidArgument) << c.says;
    EXPECT_EQ(ReasonOf(frame.status()), reason::kBadFrame) << c.says;
  }
}

TEST(ChunkFrame, CutAnywhereItIsRefusedOrShorter) {
  const v1::ChunkFrame message = Message("upload", 300, true, "some bytes of data");
  const std::string wire = message.SerializeAsString();
  std::mt19937_64 random(2);
  for (size_t size = 0; size < wire.size(); ++size) {
    const auto frame = DecodeFrame(InPieces(wire.substr(0, size), random));
    v1::ChunkFrame read;
    EXPECT_EQ(frame.ok(), read.ParseFromString(wire.substr(0, size))) << "cut to " << size;
    if (frame.ok()) ExpectEqual(*frame, read);
  }
}

TEST(ChunkFrame, GarbageNeverCrashes) {
  const std::string good = Message("upload", 300, true, "some bytes").SerializeAsString();
  for (uint64_t seed = 1; seed <= 20000; ++seed) {
    std::mt19937_64 random(seed);
    std::string wire = good;
    if (seed % 2 == 0) {
      wire.assign(random() % 64, '\0');
      for (char& c : wire) c = static_cast<char>(random());
    } else {
      for (uint64_t flips = 1 + random() % 4; flips > 0; --flips) {
        wire[random() % wire.size()] ^= static_cast<char>(1 << random() % 8);
      }
    }

    const auto frame = DecodeFrame(InPieces(wire, random));

    if (frame.ok()) {
      EXPECT_LE(frame->data_bytes(), wire.size()) << "seed " << seed;
    } else {
      EXPECT_EQ(ReasonOf(frame.status()), reason::kBadFrame) << "seed " << seed;
    }
  }
}

TEST(ChunkFrame, AnEmptyBufferIsAnEmptyFrame) {
  const auto frame = DecodeFrame(grpc::ByteBuffer(nullptr, 0));

  ASSERT_TRUE(frame.ok()) << frame.status();
  ExpectEqual(*frame, v1::ChunkFrame());
}

TEST(BorrowSlice, IsNotCopiedAndGivenBackOnce) {
  const std::string memory(kMaxChunkBytes, 'm');
  static std::atomic<int> released;
  released = 0;
  {
    ChunkFrame frame;
    frame.chunk_index = 1;
    frame.data.push_back(BorrowSlice(
        memory.data(), memory.size(), [](void*) { ++released; }, nullptr));
    const grpc::ByteBuffer buffer = EncodeFrame(frame);
    frame.data.clear();
    EXPECT_EQ(released, 0) << "the buffer still refers to it";

    const auto decoded = DecodeFrame(buffer);

    ASSERT_TRUE(decoded.ok()) << decoded.status();
    ASSERT_EQ(decoded->data.size(), 1u);
    EXPECT_EQ(static_cast<const void*>(decoded->data[0].begin()), memory.data());
  }
  EXPECT_EQ(released, 1);
}

}  // namespace
}  // namespace ckpt
