// Every limit of the protocol, for both sides.
#pragma once

#include <cstddef>
#include <cstdint>

namespace ckpt {

inline constexpr uint32_t kMaxChunkBytes = 4u << 20;
// Entries below this are laid together into shared chunks (chunking.h).
inline constexpr uint32_t kSmallEntryBytes = 256u << 10;

inline constexpr size_t kMaxNameBytes = 128;        // project, run, alias, pin, metric, launch id
inline constexpr size_t kMaxEntryNameBytes = 1024;
inline constexpr size_t kMaxEntries = 1u << 20;     // a shard
inline constexpr size_t kMaxChunks = 1u << 20;      // a shard: 4 TiB
inline constexpr size_t kMaxRank = 64;              // dimensions of a tensor
inline constexpr uint32_t kMaxWorldSize = 65536;
inline constexpr size_t kMaxMetrics = 256;          // a checkpoint
inline constexpr size_t kMaxLabels = 64;            // a checkpoint
inline constexpr size_t kMaxLabelBytes = 4096;      // a label's key and value together
inline constexpr size_t kMaxErrorTextBytes = 4096;  // a load report's error; longer is cut
inline constexpr size_t kMaxRequestIdBytes = 128;
inline constexpr int64_t kMaxTokenDays = 36525;  // a token's lifetime: a hundred years
inline constexpr uint32_t kMaxPageSize = 1000;
inline constexpr uint32_t kDefaultPageSize = 100;

inline constexpr size_t kMaxBackupPartBytes = 1 << 20;  // of a catalog's backup, a message

// A manifest of kMaxChunks chunks is 38 MiB; every message fits in this.
inline constexpr int kMaxMessageBytes = 64 << 20;
// A frame: a whole chunk and its few header bytes.
inline constexpr int kMaxFrameBytes = (4 << 20) + 4096;

inline constexpr char kDefaultProject[] = "default";
inline constexpr char kDefaultAddress[] = "127.0.0.1:7420";

}  // namespace ckpt
