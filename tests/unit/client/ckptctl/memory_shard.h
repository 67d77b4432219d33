// A shard in memory: what a daemon would hold of a training state, so that
// what fetch writes can be tested without one.
#pragma once

#include <gtest/gtest.h>

#include <map>
#include <string>
#include <vector>

#include "client/ckptctl/files/target.h"
#include "client/ckptctl/stream.h"
#include "client/state.h"
#include "proto/chunking.h"

namespace ckpt::ctl {

struct MemoryShard {
  Checkpoint checkpoint;
  Manifest manifest;
  std::string stream;

  explicit MemoryShard(const State& state) {
    auto entries = ManifestEntries(state);
    EXPECT_TRUE(entries.ok()) << entries.status();
    manifest.entries = *std::move(entries);
    for (uint32_t length : LayOut(manifest.entries)) manifest.chunks.push_back({{}, length});
    stream.resize(manifest.bytes());
    for (size_t i = 0; i < manifest.entries.size(); ++i) {
      const Entry& entry = manifest.entries[i];
      const std::span<char> into(stream.data() + entry.offset, entry.length);
      EXPECT_TRUE(CopyOut(state.entries()[i], std::as_writable_bytes(into)).ok());
    }
    checkpoint.id = 7;
    checkpoint.run = {"default", "gpt"};
    checkpoint.step = 1000;
    checkpoint.metrics = {{"val_loss", 1.25}};
    checkpoint.labels = {{"git", "abc"}};
  }

  std::string Value(const std::string& name) const {
    const Entry* entry = manifest.Find(name);
    return entry == nullptr ? "" : stream.substr(entry->offset, entry->length);
  }

  // As the verb does it: values first, then every chunk, cut at odd places.
  absl::Status Fetch(const std::string& path, const std::vector<std::string>& globs = {},
                     std::vector<std::string>* notes = nullptr) const {
    ShardView view{&checkpoint, 0, &manifest, AllEntries(manifest), {}};
    if (!globs.empty()) {
      ASSIGN_OR_RETURN(view.entries, MatchEntries(manifest, globs));
    }
    const TargetKind kind = TargetKindOf(path);
    for (const std::string& name : ValuesNeeded(kind, manifest, view.entries)) {
      view.values[name] = Value(name);
    }
    ASSIGN_OR_RETURN(const auto target, Target::Create(kind, path, view, false));
    const EntrySplitter splitter(manifest, target->streamed());
    const std::vector<uint64_t> offsets = ChunkOffsets(manifest);
    for (uint32_t chunk : splitter.Chunks()) {
      const std::span<const char> all(stream.data() + offsets[chunk],
                                      manifest.chunks[chunk].length);
      const size_t cut = all.size() / 3;
      const std::span<const std::byte> parts[] = {std::as_bytes(all.first(cut)),
                                                  std::as_bytes(all.subspan(cut))};
      RETURN_IF_ERROR(splitter.Chunk(
          chunk, parts, [&](size_t index, uint64_t offset, std::span<const std::byte> bytes) {
            return target->Write(index, offset, bytes);
          }));
    }
    if (notes != nullptr) *notes = target->notes();
    return target->Finish();
  }
};

}  // namespace ckpt::ctl
