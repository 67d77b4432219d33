// Chunk streams that are wrong: nothing of what they bring is taken, and what
// was right before stays.
#include <gtest/gtest.h>

#include "proto/limits.h"
#include "tests/integration/daemon/wire.h"

namespace ckpt::test {
namespace {

using Code = absl::StatusCode;

class BadFrames : public Refusals {
 protected:
  // A frame of the pending upload's shard.
  v1::ChunkFrame Frame(uint32_t index) {
    v1::ChunkFrame frame;
    frame.set_upload_id(words_["upload"]);
    frame.set_chunk_index(index);
    uint64_t offset = 0;
    for (uint32_t i = 0; i < index; ++i) offset += pending_.manifest.chunks[i].length;
    frame.set_data(pending_.bytes.data() + offset, pending_.manifest.chunks[index].length);
    return frame;
  }
  static v1::ChunkFrame End() {
    v1::ChunkFrame frame;
    frame.set_end(true);
    return frame;
  }
  Reply Send(const std::vector<v1::ChunkFrame>& frames) {
    std::vector<std::string> messages;
    for (const auto& frame : frames) messages.push_back(frame.SerializeAsString());
    return CallRaw(channel_, FullName("PushChunks"), messages);
  }
};

TEST_F(BadFrames, AreRefused) {
  struct Row {
    const char* what;
    std::vector<v1::ChunkFrame> frames;
    Code code;
    const char* reason;
  };
  auto with = [](v1::ChunkFrame frame, auto change) {
    change(frame);
    return frame;
  };
  auto id = [&](std::string text) {
    return with(Frame(2), [&](auto& frame) { frame.set_upload_id(std::move(text)); });
  };
  const std::vector<Row> rows = {
      {"one bit of the bytes is wrong",
       {with(Frame(2), [](auto& f) { (*f.mutable_data())[100] ^= 1; }), End()},
       Code::kInvalidArgument,
       reason::kDigestMismatch},
      {"the bytes of another chunk",
       {with(Frame(2), [](auto& f) { f.set_chunk_index(1); }), End()},
       Code::kInvalidArgument,
       reason::kDigestMismatch},
      {"a byte too few",
       {with(Frame(2), [](auto& f) { f.mutable_data()->pop_back(); }), End()},
       Code::kInvalidArgument,
       reason::kDigestMismatch},
      {"a byte too many",
       {with(Frame(2), [](auto& f) { f.mutable_data()->push_back('x'); }), End()},
       Code::kInvalidArgument,
       reason::kDigestMismatch},
      {"no bytes",
       {with(Frame(2), [](auto& f) { f.clear_data(); }), End()},
       Code::kInvalidArgument,
       reason::kDigestMismatch},
      {"more than a chunk has at most",
       {with(Frame(2), [](auto& f) { f.set_data(std::string(kMaxChunkBytes + 1, 'x')); }), End()},
       Code::kInvalidArgument,
       reason::kBadFrame},
      {"one past the last chunk",
       {with(Frame(2), [](auto& f) { f.set_chunk_index(3); }), End()},
       Code::kInvalidArgument,
       reason::kBadFrame},
      {"the largest index",
       {with(Frame(2), [](auto& f) { f.set_chunk_index(UINT32_MAX); }), End()},
       Code::kInvalidArgument,
       reason::kBadFrame},
      {"no upload id", {id(""), End()}, Code::kInvalidArgument, reason::kBadFrame},
      {"an unknown upload id", {id("u999"), End()}, Code::kNotFound, reason::kUploadNotFound},
      {"an upload id that is none",
       {id("../x\n"), End()},
       Code::kNotFound,
       reason::kUploadNotFound},
      {"an upload id of 10 kB",
       {id(std::string(10240, 'u')), End()},
       Code::kInvalidArgument,
       reason::kBadFrame},
      {"an end without a beginning", {End()}, Code::kInvalidArgument, reason::kBadFrame},
      {"no frame at all", {}, Code::kInvalidArgument, reason::kBadFrame},
  };
  Remember();
  for (const Row& row : rows) {
    ExpectRefused(row.what, Send(row.frames).status, row.code, row.reason);
  }
  // Bytes that only look like a frame: a chunk index past 32 bits.
  ExpectRefused("an index past 32 bits",
                CallRaw(channel_, FullName("PushChunks"),
                        {"\x0a\x02u1\x10\xff\xff\xff\xff\xff\xff\xff\xff\x7f"})
                    .status,
                Code::kInvalidArgument, reason::kBadFrame);
}

TEST_F(BadFrames, AStreamWithoutItsEndIsRefusedButItsWholeChunksStay) {
  const Reply reply = Send({Frame(2)});
  EXPECT_EQ(reply.status.code(), Code::kInvalidArgument) << reply.status;
  EXPECT_EQ(ReasonOf(reply.status), reason::kBadFrame);
  EXPECT_TRUE(IsOneSentence(std::string(reply.status.message())));
  auto again =
      client_->OpenUpload({.run = kTidy, .attempt = 2, .step = 30, .manifest = &pending_.manifest});
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(again->missing_chunks, (std::vector<uint32_t>{0, 1}));
}

TEST_F(BadFrames, WhatCameBeforeABadFrameStaysAndTheUploadCanBeFinished) {
  v1::ChunkFrame bad = Frame(1);
  (*bad.mutable_data())[0] ^= 1;
  EXPECT_TRUE(HasReason(Send({Frame(0), bad, Frame(2), End()}).status, reason::kDigestMismatch));
  auto commit = client_->CommitShard(words_["upload"]);
  EXPECT_TRUE(HasReason(commit.status(), reason::kChunksMissing)) << commit.status();
  EXPECT_EQ(client_->ListCheckpoints(kTidy)->size(), 1u);

  const Reply rest = Send({Frame(1), Frame(2), Frame(2), End()});
  EXPECT_TRUE(rest.status.ok()) << rest.status;
  commit = client_->CommitShard(words_["upload"]);
  ASSERT_TRUE(commit.ok()) << commit.status();
  EXPECT_EQ(FetchShard(*client_, commit->checkpoint->id), pending_.bytes);
}

}  // namespace
}  // namespace ckpt::test
