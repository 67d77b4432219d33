// A manifest as a client sends it, and as the catalog holds it.
#include "ckpt/v1/types.pb.h"
#include "proto/chunking.h"
#include "proto/convert.h"
#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  ckpt::v1::Manifest message;
  if (!message.ParseFromArray(data, static_cast<int>(size))) return 0;
  const auto manifest = ckpt::FromProto(message);
  if (!manifest.ok()) {
    MUST(!ckpt::ReasonOf(manifest.status()).empty());
    return 0;
  }
  // What passed is well-formed: every entry lies within the chunks.
  const uint64_t bytes = manifest->bytes();
  for (const ckpt::Entry& entry : manifest->entries) {
    MUST(entry.length <= bytes && entry.offset <= bytes - entry.length);
  }
  MUST(ckpt::ChunkOffsets(*manifest).back() == bytes);
  const auto again = ckpt::FromProto(ckpt::ToProto(*manifest));
  MUST(again.ok() && *again == *manifest);
  return 0;
}
