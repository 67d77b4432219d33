// One frame of a chunk stream, in whatever slices it comes.
#include <vector>

#include <grpcpp/support/byte_buffer.h>

#include "proto/chunk_frame.h"
#include "proto/limits.h"
#include "tests/fuzz/fuzz.h"

namespace {

std::string Flatten(const ckpt::ChunkFrame& frame) {
  std::string bytes;
  for (const grpc::Slice& slice : frame.data) {
    bytes.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
  }
  return bytes;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  FuzzInput input(data, size);
  const size_t cut = 1 + input.Take<uint8_t>();
  std::vector<grpc::Slice> slices;
  while (!input.empty()) slices.emplace_back(std::string(input.TakeText(cut)));
  const auto frame = ckpt::DecodeFrame(grpc::ByteBuffer(slices.data(), slices.size()));
  if (!frame.ok()) {
    MUST(ckpt::ReasonOf(frame.status()) == ckpt::reason::kBadFrame);
    return 0;
  }
  MUST(frame->data_bytes() <= ckpt::kMaxChunkBytes);
  const auto again = ckpt::DecodeFrame(ckpt::EncodeFrame(*frame));
  MUST(again.ok());
  MUST(again->upload_id == frame->upload_id && again->end == frame->end);
  MUST(again->chunk_index == frame->chunk_index && Flatten(*again) == Flatten(*frame));
  return 0;
}
