// ckpt.v1.ChunkFrame as gRPC byte buffers, without parsing `data` into a
// string: it goes out as a slice of the caller's memory and comes in as the
// slices that gRPC received. On the wire it is the ordinary protobuf message.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/slice.h>

#include "proto/status.h"

namespace ckpt {

struct ChunkFrame {
  std::string upload_id;
  uint32_t chunk_index = 0;
  bool end = false;
  std::vector<grpc::Slice> data;  // one after the other; holds references

  size_t data_bytes() const;
};

// The frame as one byte buffer. `data`'s slices are referenced, not copied.
grpc::ByteBuffer EncodeFrame(const ChunkFrame& frame);
// A slice of memory that the caller keeps unchanged until `release` is called
// (from any thread), once gRPC has no more use for it.
grpc::Slice BorrowSlice(const void* data, size_t size, void (*release)(void*), void* arg);

// INVALID_ARGUMENT/BAD_FRAME when the bytes are no ChunkFrame or pass
// kMaxChunkBytes. Fields that we do not know are skipped.
absl::StatusOr<ChunkFrame> DecodeFrame(const grpc::ByteBuffer& buffer);

}  // namespace ckpt
