// Manifests that do not add up: each is refused with the field that is wrong.
#include <functional>

#include <gtest/gtest.h>

#include <fmt/format.h>

#include "proto/limits.h"
#include "tests/integration/daemon/wire.h"

namespace ckpt::test {
namespace {

constexpr char kDigest[] = "'dddddddddddddddddddddddddddddddd'";  // 32 bytes

class BadManifests : public Refusals {
 protected:
  absl::Status Offer(const std::string& manifest) {
    const std::string request = "$tidy attempt: 2 step: 40 manifest { " + manifest + " }";
    return CallRaw(channel_, FullName("OpenUpload"),
                   {Encode("OpenUpload", request, {{"tidy", words_["tidy"]}, {"d", kDigest}})})
        .status;
  }
};

struct Row {
  const char* what;
  const char* manifest;  // protobuf text; $d is a digest
};

TEST_F(BadManifests, ThatDoNotAddUp) {
  // 1024 bytes in one chunk; what goes before is up to the row.
  const std::string chunk = " chunks { digest: $d length: 1024 }";
  const std::vector<Row> rows = {
      {"an entry longer than the chunks", "entries { name: 'a' length: 1025 }"},
      {"an entry behind the chunks", "entries { name: 'a' offset: 1024 length: 1 }"},
      {"an end past 64 bits", "entries { name: 'a' offset: 1 length: 18446744073709551615 }"},
      {"an offset past all", "entries { name: 'a' offset: 18446744073709551615 length: 2 }"},
      {"entries that overlap",
       "entries { name: 'a' length: 600 } entries { name: 'b' offset: 599 length: 2 }"},
      {"an entry within another",
       "entries { name: 'a' length: 1024 } entries { name: 'b' offset: 5 length: 2 }"},
      {"a name twice", "entries { name: 'a' length: 5 } entries { name: 'a' offset: 5 length: 5 }"},
      {"an empty name", "entries { length: 5 }"},
      {"a name of 10 kB", "entries { name: '$10k' length: 5 }"},
      {"a name with a newline", "entries { name: 'a\\nb' length: 5 }"},
      {"a name with an escape", "entries { name: 'a\\x1b[2Jb' length: 5 }"},
      {"a name with a zero byte", "entries { name: 'a\\000b' length: 5 }"},
      {"a dtype that is none", "entries { name: 'a' dtype: 99 length: 4 }"},
      {"a negative dtype", "entries { name: 'a' dtype: -1 length: 4 }"},
      {"a dtype of all bits", "entries { name: 'a' dtype: 2147483647 length: 4 }"},
      {"a shape without a dtype", "entries { name: 'a' shape: 4 length: 4 }"},
      {"a slice without a dtype", "entries { name: 'a' global_shape: 4 length: 4 }"},
      {"a length that the shape does not give",
       "entries { name: 'a' dtype: DTYPE_F32 shape: 4 length: 4 }"},
      {"a scalar of two elements", "entries { name: 'a' dtype: DTYPE_F32 length: 8 }"},
      {"a negative dimension", "entries { name: 'a' dtype: DTYPE_U8 shape: -4 length: 4 }"},
      {"two negative dimensions",
       "entries { name: 'a' dtype: DTYPE_U8 shape: -2 shape: -2 length: 4 }"},
      {"a negative dimension beside zero",
       "entries { name: 'a' dtype: DTYPE_U8 shape: 0 shape: -2 }"},
      {"a shape past 64 bits, 0 when it wraps",
       "entries { name: 'a' dtype: DTYPE_U8 shape: 4294967296 shape: 4294967296 }"},
      {"a shape past 64 bits, 4 when it wraps",
       "entries { name: 'a' dtype: DTYPE_F32 shape: 4611686018427387905 length: 4 }"},
      {"all bits in two dimensions",
       "entries { name: 'a' dtype: DTYPE_F64 shape: 9223372036854775807"
       " shape: 9223372036854775807 length: 8 }"},
      {"a slice beyond its whole",
       "entries { name: 'a' dtype: DTYPE_U8 shape: 4 length: 4 global_shape: 6 global_offset: 3 }"},
      {"a slice larger than its whole",
       "entries { name: 'a' dtype: DTYPE_U8 shape: 4 length: 4 global_shape: 3 global_offset: 0 }"},
      {"a slice of other rank",
       "entries { name: 'a' dtype: DTYPE_U8 shape: 4 length: 4 global_shape: 8 global_shape: 1"
       " global_offset: 0 global_offset: 0 }"},
      {"a slice without offsets",
       "entries { name: 'a' dtype: DTYPE_U8 shape: 4 length: 4 global_shape: 8 }"},
      {"a slice without a whole",
       "entries { name: 'a' dtype: DTYPE_U8 shape: 4 length: 4 global_offset: 0 }"},
      {"a slice at a negative offset",
       "entries { name: 'a' dtype: DTYPE_U8 shape: 4 length: 4 global_shape: 8 global_offset: -1 "
       "}"},
      {"a slice whose end overflows",
       "entries { name: 'a' dtype: DTYPE_U8 shape: 4 length: 4 global_shape: 9223372036854775807"
       " global_offset: 9223372036854775805 }"},
      {"a negative whole",
       "entries { name: 'a' dtype: DTYPE_U8 shape: 4 length: 4 global_shape: -8 global_offset: 0 "
       "}"},
      {"a chunk of nothing", "chunks { digest: $d }"},
      {"a chunk of more than 4 MiB", "chunks { digest: $d length: 4194305 }"},
      {"a chunk of all bits", "chunks { digest: $d length: 4294967295 }"},
      {"a chunk without digest", "chunks { length: 4 }"},
      {"a short digest", "chunks { digest: 'd' length: 4 }"},
      {"a long digest", "chunks { digest: '$10k' length: 4 }"},
      {"a digest with two lengths", "chunks { digest: $d length: 1023 }"},
  };
  Remember();
  for (const Row& row : rows) {
    ExpectRefused(row.what, Offer(row.manifest + chunk), absl::StatusCode::kInvalidArgument,
                  reason::kBadManifest);
  }
  std::string dimensions;
  for (int i = 0; i <= static_cast<int>(kMaxRank); ++i) dimensions += " shape: 1";
  ExpectRefused("65 dimensions",
                Offer("entries { name: 'a' dtype: DTYPE_U8 length: 1" + dimensions + " }" + chunk),
                absl::StatusCode::kInvalidArgument, reason::kBadManifest);
}

TEST_F(BadManifests, WithHugeCounts) {
  struct Huge {
    const char* what;
    std::function<void(v1::OpenUploadRequest&)> fill;
    const char* reason;
  };
  const std::vector<Huge> rows = {
      {"2^20 + 1 entries",
       [](v1::OpenUploadRequest& request) {
         for (size_t i = 0; i <= kMaxEntries; ++i) {
           request.mutable_manifest()->add_entries()->set_name(std::to_string(i));
         }
       },
       reason::kBadManifest},
      {"2^20 + 1 chunks",
       [](v1::OpenUploadRequest& request) {
         for (size_t i = 0; i <= kMaxChunks; ++i) {
           v1::Chunk& chunk = *request.mutable_manifest()->add_chunks();
           chunk.set_digest(std::string(32, 'd'));
           chunk.set_length(4);
         }
       },
       reason::kBadManifest},
      {"a shape of a million dimensions",
       [](v1::OpenUploadRequest& request) {
         v1::Entry& entry = *request.mutable_manifest()->add_entries();
         entry.set_name("a");
         entry.set_dtype(v1::DTYPE_U8);
         entry.mutable_shape()->Resize(1'000'000, 1);
       },
       reason::kBadManifest},
      {"257 metrics",
       [](v1::OpenUploadRequest& request) {
         for (size_t i = 0; i <= kMaxMetrics; ++i) {
           request.add_metrics()->set_name("m" + std::to_string(i));
         }
       },
       reason::kBadField},
      {"257 pending metrics",
       [](v1::OpenUploadRequest& request) {
         for (size_t i = 0; i <= kMaxMetrics; ++i) {
           request.add_pending_metrics("m" + std::to_string(i));
         }
       },
       reason::kBadField},
      {"65 labels",
       [](v1::OpenUploadRequest& request) {
         for (size_t i = 0; i <= kMaxLabels; ++i) {
           (*request.mutable_labels())[std::to_string(i)] = "";
         }
       },
       reason::kBadField},
      {"a label of 10 kB",
       [](v1::OpenUploadRequest& request) {
         (*request.mutable_labels())["note"] = std::string(10240, 'x');
       },
       reason::kBadField},
      {"a label without a key",
       [](v1::OpenUploadRequest& request) { (*request.mutable_labels())[""] = "x"; },
       reason::kBadField},
  };
  Remember();
  for (const Huge& row : rows) {
    v1::OpenUploadRequest request;
    request.mutable_run()->set_run("tidy");
    request.set_attempt(2);
    request.set_step(40);
    row.fill(request);
    ExpectRefused(row.what,
                  CallRaw(channel_, FullName("OpenUpload"), {request.SerializeAsString()}).status,
                  absl::StatusCode::kInvalidArgument, row.reason);
  }
}

TEST_F(BadManifests, LargerThanTheDiskAreRefusedBeforeAByteIsSent) {
  v1::OpenUploadRequest request;
  request.mutable_run()->set_run("tidy");
  request.set_attempt(2);
  request.set_step(40);
  // 4 TiB, all chunks different.
  for (uint32_t i = 0; i < kMaxChunks; ++i) {
    std::string digest(32, '\0');
    memcpy(digest.data(), &i, sizeof(i));
    v1::Chunk& chunk = *request.mutable_manifest()->add_chunks();
    chunk.set_digest(digest);
    chunk.set_length(kMaxChunkBytes);
  }
  Remember();
  ExpectRefused("4 TiB",
                CallRaw(channel_, FullName("OpenUpload"), {request.SerializeAsString()}).status,
                absl::StatusCode::kResourceExhausted, reason::kNoSpace);
}

}  // namespace
}  // namespace ckpt::test
