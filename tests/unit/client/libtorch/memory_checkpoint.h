// A checkpoint in memory: what a State becomes, without a daemon.
#pragma once

#include <cstring>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "client/libtorch/training_state.h"
#include "proto/chunking.h"

namespace ckpt::libtorch {

struct MemoryCheckpoint {
  Manifest manifest;
  std::vector<std::byte> bytes;
  std::vector<std::string> fetched;  // entries, in order

  static MemoryCheckpoint Of(const TrainingState& training) {
    MemoryCheckpoint checkpoint;
    const absl::StatusOr<State> state = training.Capture();
    EXPECT_TRUE(state.ok()) << state.status();
    if (!state.ok()) return checkpoint;
    auto entries = ManifestEntries(*state);
    EXPECT_TRUE(entries.ok()) << entries.status();
    checkpoint.manifest.entries = *std::move(entries);
    uint64_t total = 0;
    for (const uint32_t length : LayOut(checkpoint.manifest.entries)) {
      checkpoint.manifest.chunks.push_back({{}, length});
      total += length;
    }
    checkpoint.bytes.resize(total);
    for (size_t i = 0; i < state->entries().size(); ++i) {
      const absl::Status copied =
          CopyOut(state->entries()[i], checkpoint.Bytes(checkpoint.manifest.entries[i]));
      EXPECT_TRUE(copied.ok()) << copied;
    }
    return checkpoint;
  }

  std::span<std::byte> Bytes(const Entry& entry) {
    return std::span(bytes).subspan(entry.offset, entry.length);
  }

  LoadSource Source() {
    return {&manifest, [this](const std::vector<Destination>& destinations) -> absl::Status {
              for (const Destination& destination : destinations) {
                const Entry* entry = manifest.Find(destination.entry);
                if (entry == nullptr) return absl::NotFoundError(destination.entry);
                fetched.push_back(destination.entry);
                const auto from = Bytes(*entry);
                std::memcpy(destination.data, from.data(), from.size());
              }
              return absl::OkStatus();
            }};
  }
};

}  // namespace ckpt::libtorch
