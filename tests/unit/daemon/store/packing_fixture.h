// A store that packs its history, and trainings' states to push into it.
#pragma once

#include <algorithm>
#include <cstring>

#include "daemon/catalog/encoding.h"
#include "proto/chunking.h"
#include "tests/unit/daemon/store/fixture.h"

namespace ckptd {

inline constexpr size_t kFloats = 100'000;
inline constexpr size_t kLargeTensors = 2;  // that change; a third one is frozen

class PackingTest : public StoreTest {
 protected:
  void SetUp() override {
    options_.compress = true;
    StoreTest::SetUp();
  }

  // The state of a training at a step: weights that take small steps.
  struct State {
    ckpt::Manifest manifest;
    std::vector<std::byte> bytes;  // the shard's stream
  };
  static State StateOf(uint64_t step) {
    State state;
    std::vector<ckpt::Entry> entries;
    std::vector<std::vector<float>> values;
    for (size_t tensor = 0; tensor <= kLargeTensors; ++tensor) {
      std::mt19937_64 random(tensor);
      std::normal_distribution<float> weight(0, 0.02f), update(0, 1e-4f);
      std::vector<float> of_tensor(kFloats);
      for (float& value : of_tensor) value = weight(random);
      for (uint64_t i = 0; i < step && tensor < kLargeTensors; ++i) {
        for (float& value : of_tensor) value += update(random);
      }
      ckpt::Entry entry{.name = "w" + std::to_string(tensor), .dtype = ckpt::DType::kF32};
      entry.shape = {static_cast<int64_t>(kFloats)};
      entry.length = kFloats * sizeof(float);
      entries.push_back(entry);
      values.push_back(std::move(of_tensor));
    }
    ckpt::Entry counter{.name = "step", .dtype = ckpt::DType::kI64, .length = 8};
    entries.push_back(counter);
    std::vector<uint32_t> lengths = ckpt::LayOut(entries);
    state.manifest.entries = entries;
    uint64_t total = 0;
    for (const uint32_t length : lengths) total += length;
    state.bytes.resize(total);
    for (size_t i = 0; i < values.size(); ++i) {
      std::memcpy(state.bytes.data() + entries[i].offset, values[i].data(), entries[i].length);
    }
    std::memcpy(state.bytes.data() + entries.back().offset, &step, sizeof(step));
    uint64_t at = 0;
    for (const uint32_t length : lengths) {
      state.manifest.chunks.push_back({ckpt::HashBytes(state.bytes.data() + at, length), length});
      at += length;
    }
    return state;
  }
  absl::StatusOr<Store::OpenedUpload> BeginState(uint64_t step, const State& state,
                                                 const ckpt::Metrics& metrics = {}) {
    Store::UploadRequest request;
    request.run = r_;
    request.attempt = attempt_;
    request.step = step;
    request.manifest = state.manifest;
    request.metrics = metrics;
    return store_->OpenUpload(std::move(request));
  }
  absl::Status SendState(const State& state, Upload& upload,
                         const std::vector<uint32_t>& missing) {
    const auto offsets = ckpt::ChunkOffsets(state.manifest);
    for (const uint32_t i : missing) {
      const auto part = std::span<const std::byte>(state.bytes).subspan(
          offsets[i], state.manifest.chunks[i].length);
      RETURN_IF_ERROR(upload.Append(i, std::span(&part, 1)));
    }
    return absl::OkStatus();
  }
  // The id of the checkpoint.
  uint64_t PushState(uint64_t step, const ckpt::Metrics& metrics = {}) {
    const State state = StateOf(step);
    const auto opened = Get(BeginState(step, state, metrics));
    EXPECT_EQ(Why(SendState(state, *Get(store_->FindUpload(opened.upload_id)),
                            opened.missing_chunks)),
              "OK");
    const auto result = Get(store_->CommitShard(opened.upload_id));
    ids_[step] = result.checkpoint->id;
    return ids_[step];
  }
  void PushStates(uint64_t first, uint64_t last) {
    if (attempt_ == 0) attempt_ = Attempt("a", 1, r_, KeepAll());
    for (uint64_t step = first; step <= last; ++step) PushState(step);
  }
  static ckpt::Policy KeepAll() {
    ckpt::Policy policy;
    policy.keep_within = absl::Hours(1000);
    return policy;
  }

  // Every byte of every checkpoint of these steps is as it was pushed.
  void ExpectWhole(const std::vector<uint64_t>& steps) {
    for (const uint64_t step : steps) {
      SCOPED_TRACE(step);
      const State state = StateOf(step);
      const auto offsets = ckpt::ChunkOffsets(state.manifest);
      const auto reader = Get(store_->OpenReader(ids_.at(step), 0));
      EXPECT_EQ(reader->manifest(), state.manifest);
      for (uint32_t i = 0; i < state.manifest.chunks.size(); ++i) {
        const auto bytes = Get(reader->Read(i));
        EXPECT_TRUE(std::ranges::equal(
            bytes->bytes(),
            std::span(state.bytes).subspan(offsets[i], state.manifest.chunks[i].length)));
      }
    }
    EXPECT_TRUE(store_->Verify(r_, 0, [](const auto& p) { return p.damages.empty(); }).ok());
  }
  std::unordered_map<ckpt::Digest, ChunkLocation> Locations(uint64_t step) {
    auto catalog = Get(catalog::Catalog::Open(Layout(options_.data_dir).Catalog()));
    return Get(catalog::CheckpointChunks(*Get(catalog->BeginRead()), ids_.at(step), 0));
  }
  // How many links each large chunk's chain has; -1: it lies as it came.
  std::vector<int> Links(uint64_t step) {
    const State state = StateOf(step);
    const auto locations = Locations(step);
    std::vector<int> links;
    for (size_t i = 0; i <= kLargeTensors; ++i) {
      const ChunkLocation* at = &locations.at(state.manifest.chunks[i].digest);
      links.push_back(at->encoded == 0 ? -1 : 0);
      for (; at->base != nullptr; at = &at->base->location) ++links.back();
    }
    return links;
  }
  // Once only these steps are left to look at: the newest and what is like it.
  bool IsPacked(const std::vector<uint64_t>& but) {
    auto catalog = Get(catalog::Catalog::Open(Layout(options_.data_dir).Catalog()));
    const int64_t run_id = Get(catalog::FindRun(*Get(catalog->BeginRead()), r_))->id;
    std::vector<uint64_t> expected;
    for (const uint64_t step : but) expected.push_back(ids_.at(step));
    return Eventually([&] {
             return Get(catalog::ListUnpacked(*Get(catalog->BeginRead()), run_id)) == expected;
           }) &&
           IsReclaimed();
  }

  uint64_t attempt_ = 0;
  std::map<uint64_t, uint64_t> ids_;  // by step
};

}  // namespace ckptd
