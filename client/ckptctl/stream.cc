#include "client/ckptctl/stream.h"

#include <fnmatch.h>

#include <algorithm>
#include <numeric>

#include "proto/chunking.h"
#include "proto/names.h"

namespace ckpt::ctl {

EntrySplitter::EntrySplitter(const Manifest& manifest, std::vector<size_t> entries)
    : manifest_(manifest), entries_(std::move(entries)), chunk_offsets_(ChunkOffsets(manifest)) {
  std::erase_if(entries_, [&](size_t i) { return manifest_.entries[i].length == 0; });
  std::sort(entries_.begin(), entries_.end(), [&](size_t a, size_t b) {
    return manifest_.entries[a].offset < manifest_.entries[b].offset;
  });
}

std::vector<uint32_t> EntrySplitter::Chunks() const {
  std::vector<uint32_t> chunks;
  for (size_t i : entries_) {
    const Entry& entry = manifest_.entries[i];
    const ChunkSpan span = ChunksOf(chunk_offsets_, entry.offset, entry.offset + entry.length);
    for (uint32_t chunk = span.first; chunk < span.last; ++chunk) {
      if (chunks.empty() || chunks.back() < chunk) chunks.push_back(chunk);
    }
  }
  return chunks;
}

absl::Status EntrySplitter::Chunk(uint32_t chunk, ChunkParts parts, const EntrySink& sink) const {
  uint64_t begin = chunk_offsets_[chunk];
  // The first entry that ends after the chunk's beginning; entries do not overlap.
  auto next = std::partition_point(entries_.begin(), entries_.end(), [&](size_t i) {
    const Entry& entry = manifest_.entries[i];
    return entry.offset + entry.length <= begin;
  });
  for (std::span<const std::byte> part : parts) {
    const uint64_t end = begin + part.size();
    for (auto it = next; it != entries_.end(); ++it) {
      const Entry& entry = manifest_.entries[*it];
      if (entry.offset >= end) break;
      const uint64_t entry_end = entry.offset + entry.length;
      const uint64_t from = std::max(begin, entry.offset);
      const uint64_t to = std::min(end, entry_end);
      if (from < to) {
        RETURN_IF_ERROR(sink(*it, from - entry.offset, part.subspan(from - begin, to - from)));
      }
      if (entry_end <= end) next = it + 1;
    }
    begin = end;
  }
  return absl::OkStatus();
}

std::vector<size_t> AllEntries(const Manifest& manifest) {
  std::vector<size_t> all(manifest.entries.size());
  std::iota(all.begin(), all.end(), size_t{0});
  return all;
}

absl::StatusOr<std::vector<size_t>> MatchEntries(const Manifest& manifest,
                                                 const std::vector<std::string>& patterns) {
  std::vector<bool> wanted(manifest.entries.size());
  for (const std::string& pattern : patterns) {
    bool any = false;
    for (size_t i = 0; i < manifest.entries.size(); ++i) {
      if (fnmatch(pattern.c_str(), manifest.entries[i].name.c_str(), 0) != 0) continue;
      wanted[i] = any = true;
    }
    if (!any) {
      return MakeError(absl::StatusCode::kNotFound, reason::kEntryNotFound,
                       fmt::format("no entry matches '{}'; see the entries' names with describe "
                                   "--entries",
                                   Printable(pattern)));
    }
  }
  std::vector<size_t> entries;
  for (size_t i = 0; i < wanted.size(); ++i) {
    if (wanted[i]) entries.push_back(i);
  }
  return entries;
}

absl::Status StreamEntries(Client& client, uint64_t checkpoint_id, uint32_t rank,
                           const Manifest& manifest, const std::vector<size_t>& entries,
                           const EntrySink& sink, const ProgressFn& progress, Cancel* cancel) {
  const EntrySplitter splitter(manifest, entries);
  FetchRequest request{checkpoint_id, rank, &manifest, splitter.Chunks()};
  if (request.chunks.empty()) return absl::OkStatus();
  return Fetch(
      client, request,
      [&](uint32_t chunk, ChunkParts parts) { return splitter.Chunk(chunk, parts, sink); },
      progress, cancel);
}

}  // namespace ckpt::ctl
