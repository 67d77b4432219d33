#include "proto/chunking.h"

#include <algorithm>
#include <unordered_map>
#include <unordered_set>

#include <fmt/format.h>

#include "proto/limits.h"
#include "proto/names.h"

namespace ckpt {
namespace {

constexpr uint64_t kSmallAlignment = 16;

absl::Status Bad(const std::string& field, const std::string& text) {
  return BadField(field, fmt::format("{}: {}", field, text), reason::kBadManifest);
}

absl::Status CheckEntry(const Entry& entry, const std::string& field, uint64_t total) {
  if (absl::Status name = CheckEntryName(entry.name); !name.ok()) {
    return Bad(field + ".name", std::string(name.message()));
  }
  if (entry.offset > total || entry.length > total - entry.offset) {
    return Bad(field, fmt::format("entry \"{}\" takes bytes {} to {}+{}, but the chunks hold {}",
                                  Printable(entry.name), entry.offset, entry.offset, entry.length,
                                  total));
  }
  if (!entry.is_tensor()) {
    if (!entry.shape.empty() || !entry.global_shape.empty() || !entry.global_offset.empty()) {
      return Bad(field + ".shape", fmt::format("entry \"{}\" has a shape but no dtype",
                                               Printable(entry.name)));
    }
    return absl::OkStatus();
  }
  if (ElementBytes(entry.dtype) == 0) {
    return Bad(field + ".dtype", fmt::format("entry \"{}\" has an unknown dtype",
                                             Printable(entry.name)));
  }
  absl::StatusOr<uint64_t> bytes = TensorBytes(entry.dtype, entry.shape);
  if (!bytes.ok()) {
    return Bad(field + ".shape", fmt::format("entry \"{}\": {}", Printable(entry.name),
                                             std::string(bytes.status().message())));
  }
  if (*bytes != entry.length) {
    return Bad(field + ".length",
               fmt::format("entry \"{}\" has {} bytes, but its dtype {} and shape give {}",
                           Printable(entry.name), entry.length, DTypeName(entry.dtype), *bytes));
  }
  if (entry.global_shape.empty() && entry.global_offset.empty()) return absl::OkStatus();
  bool fits = entry.global_shape.size() == entry.shape.size() &&
              entry.global_offset.size() == entry.shape.size();
  for (size_t d = 0; fits && d < entry.shape.size(); ++d) {
    fits = entry.global_offset[d] >= 0 && entry.global_shape[d] >= entry.shape[d] &&
           entry.global_offset[d] <= entry.global_shape[d] - entry.shape[d];
  }
  if (!fits) {
    return Bad(field + ".global_shape",
               fmt::format("entry \"{}\" is a slice that does not lie within its global shape",
                           Printable(entry.name)));
  }
  return absl::OkStatus();
}

}  // namespace

std::vector<uint32_t> LayOut(std::vector<Entry>& entries) {
  std::vector<uint32_t> chunks;
  uint64_t position = 0;
  uint64_t small_chunk = 0;  // where the open shared chunk begins
  bool small_open = false;
  auto close_small = [&] {
    if (small_open && position > small_chunk) {
      chunks.push_back(static_cast<uint32_t>(position - small_chunk));
    }
    small_open = false;
  };
  for (Entry& entry : entries) {
    if (entry.length < kSmallEntryBytes) {
      if (!small_open) {
        small_open = true;
        small_chunk = position;
      }
      // Aligned from the chunk's beginning, so that the layout of a group does
      // not depend on what lies before it.
      uint64_t inside = position - small_chunk;
      uint64_t aligned = (inside + kSmallAlignment - 1) / kSmallAlignment * kSmallAlignment;
      if (aligned + entry.length > kMaxChunkBytes) {
        close_small();
        small_open = true;
        small_chunk = position;
        aligned = 0;
      }
      entry.offset = small_chunk + aligned;
      if (entry.length > 0) position = entry.offset + entry.length;
      else entry.offset = position;
      continue;
    }
    close_small();
    entry.offset = position;
    for (uint64_t left = entry.length; left > 0;) {
      auto length = static_cast<uint32_t>(std::min<uint64_t>(left, kMaxChunkBytes));
      chunks.push_back(length);
      left -= length;
    }
    position += entry.length;
  }
  close_small();
  return chunks;
}

absl::StatusOr<uint64_t> TensorBytes(DType dtype, std::span<const int64_t> shape) {
  uint64_t bytes = ElementBytes(dtype);
  if (bytes == 0) return BadField("dtype", "the dtype is unknown");
  if (shape.size() > kMaxRank) {
    return BadField("shape", fmt::format("the shape has {} dimensions, but at most {} are allowed",
                                         shape.size(), kMaxRank));
  }
  bool empty = std::find(shape.begin(), shape.end(), 0) != shape.end();
  for (int64_t dimension : shape) {
    if (dimension < 0) {
      return BadField("shape", fmt::format("dimension {} of the shape is negative", dimension));
    }
    if (!empty && __builtin_mul_overflow(bytes, static_cast<uint64_t>(dimension), &bytes)) {
      return BadField("shape", "the shape has more bytes than 64 bits can count");
    }
  }
  return empty ? 0 : bytes;
}

absl::Status CheckManifest(const Manifest& manifest) {
  if (manifest.entries.size() > kMaxEntries) {
    return Bad("manifest.entries", fmt::format("{} entries, but at most {} are allowed",
                                               manifest.entries.size(), kMaxEntries));
  }
  if (manifest.chunks.size() > kMaxChunks) {
    return Bad("manifest.chunks", fmt::format("{} chunks, but at most {} are allowed",
                                              manifest.chunks.size(), kMaxChunks));
  }
  for (size_t i = 0; i < manifest.chunks.size(); ++i) {
    uint32_t length = manifest.chunks[i].length;
    if (length == 0 || length > kMaxChunkBytes) {
      return Bad(fmt::format("manifest.chunks[{}].length", i),
                 fmt::format("{} bytes, but a chunk has 1 to {}", length, kMaxChunkBytes));
    }
  }
  uint64_t total = manifest.bytes();
  std::unordered_set<std::string_view> names;
  std::vector<const Entry*> order;
  for (size_t i = 0; i < manifest.entries.size(); ++i) {
    const Entry& entry = manifest.entries[i];
    std::string field = fmt::format("manifest.entries[{}]", i);
    RETURN_IF_ERROR(CheckEntry(entry, field, total));
    if (!names.insert(entry.name).second) {
      return Bad(field + ".name", fmt::format("the name \"{}\" is there twice",
                                              Printable(entry.name)));
    }
    if (entry.length > 0) order.push_back(&entry);
  }
  std::sort(order.begin(), order.end(),
            [](const Entry* a, const Entry* b) { return a->offset < b->offset; });
  for (size_t i = 1; i < order.size(); ++i) {
    if (order[i - 1]->offset + order[i - 1]->length > order[i]->offset) {
      return Bad("manifest.entries", fmt::format("entries \"{}\" and \"{}\" overlap",
                                                 Printable(order[i - 1]->name),
                                                 Printable(order[i]->name)));
    }
  }
  // The same digest with two lengths can only be a lie.
  std::unordered_map<Digest, uint32_t> lengths;
  for (size_t i = 0; i < manifest.chunks.size(); ++i) {
    auto [it, inserted] = lengths.emplace(manifest.chunks[i].digest, manifest.chunks[i].length);
    if (!inserted && it->second != manifest.chunks[i].length) {
      return Bad(fmt::format("manifest.chunks[{}].length", i),
                 fmt::format("digest {} stands there with lengths {} and {}",
                             manifest.chunks[i].digest.Hex(), it->second,
                             manifest.chunks[i].length));
    }
  }
  return absl::OkStatus();
}

std::vector<uint64_t> ChunkOffsets(const Manifest& manifest) {
  std::vector<uint64_t> offsets;
  offsets.reserve(manifest.chunks.size() + 1);
  uint64_t position = 0;
  for (const Chunk& chunk : manifest.chunks) {
    offsets.push_back(position);
    position += chunk.length;
  }
  offsets.push_back(position);
  return offsets;
}

ChunkSpan ChunksOf(std::span<const uint64_t> chunk_offsets, uint64_t begin, uint64_t end) {
  if (begin >= end) return {};
  auto first = std::upper_bound(chunk_offsets.begin(), chunk_offsets.end(), begin) - 1;
  auto last = std::lower_bound(chunk_offsets.begin(), chunk_offsets.end(), end);
  return {static_cast<uint32_t>(first - chunk_offsets.begin()),
          static_cast<uint32_t>(last - chunk_offsets.begin())};
}

}  // namespace ckpt
