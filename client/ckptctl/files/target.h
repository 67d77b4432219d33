// What `fetch` writes: a directory, a .safetensors or a .pt file. All three
// take the entries' bytes as they arrive and hold none of them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "proto/model.h"
#include "proto/status.h"

namespace ckpt::ctl {

// What is to be written. The pointers outlive the target.
struct ShardView {
  const Checkpoint* checkpoint = nullptr;
  uint32_t rank = 0;
  const Manifest* manifest = nullptr;
  std::vector<size_t> entries;  // indices of those wanted
  // The bytes of the entries that ValuesNeeded named.
  std::map<std::string, std::string> values;
};

enum class TargetKind { kDirectory, kSafetensors, kTorch };
// By the ending: .safetensors; .pt, .pth or .ckpt; else a directory.
TargetKind TargetKindOf(const std::string& path);

// Entries whose bytes a target must know before it can lay out its file: the
// document of a training state, small opaque values, an optimizer's counters.
std::vector<std::string> ValuesNeeded(TargetKind kind, const Manifest& manifest,
                                      const std::vector<size_t>& entries);

// One thread. Without Finish nothing is left behind.
class Target {
 public:
  virtual ~Target() = default;

  // Errors are those of files/atomic_file.h. INVALID_ARGUMENT: the format
  // cannot hold what is wanted.
  static absl::StatusOr<std::unique_ptr<Target>> Create(TargetKind kind, const std::string& path,
                                                        const ShardView& shard, bool replace);

  // The entries whose bytes are still to be given to Write: each one's in
  // order, entry after entry as they lie in the shard.
  const std::vector<size_t>& streamed() const { return streamed_; }
  virtual absl::Status Write(size_t entry, uint64_t offset, std::span<const std::byte> bytes) = 0;
  virtual absl::Status Finish() = 0;

  // What the user should know: one sentence each.
  const std::vector<std::string>& notes() const { return notes_; }

 protected:
  std::vector<size_t> streamed_;
  std::vector<std::string> notes_;
};

absl::StatusOr<std::unique_ptr<Target>> CreateDirectoryTarget(const std::string& path,
                                                              const ShardView& shard, bool replace);
absl::StatusOr<std::unique_ptr<Target>> CreateSafetensorsTarget(const std::string& path,
                                                                const ShardView& shard,
                                                                bool replace);
absl::StatusOr<std::unique_ptr<Target>> CreateTorchTarget(const std::string& path,
                                                          const ShardView& shard, bool replace);

// A file name for an entry: bytes other than [A-Za-z0-9._-], and a leading dot,
// become %XX. Long names are cut and end in a part of their digest.
std::string EscapedFileName(const std::string& entry);

// A metric as text that reads back to the same bits.
std::string MetricText(double value);

// In a .safetensors file's metadata: opaque entries, in base64, behind this.
inline constexpr char kBytesEntryPrefix[] = "ckpt.bytes:";
// Opaque entries above this are left out of a .safetensors file.
inline constexpr uint64_t kMaxMetadataEntryBytes = 1 << 20;

}  // namespace ckpt::ctl
