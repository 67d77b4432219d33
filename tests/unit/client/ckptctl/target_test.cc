#include "client/ckptctl/files/target.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include <nlohmann/json.hpp>

#include "client/ckptctl/files/torch_layout.h"
#include "client/safetensors.h"
#include "tests/testing/temp_dir.h"
#include "tests/unit/client/ckptctl/memory_shard.h"

namespace ckpt::ctl {
namespace {

namespace fs = std::filesystem;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

const float kWeight[] = {1, 2, 3, 4, 5, 6};
const float kMoment[] = {.1f, .2f, .3f, .4f, .5f, .6f};
const int64_t kStep = 42;

State TrainingState() {
  State state;
  state.AddTensor("model/fc.weight", DType::kF32, {2, 3}, kWeight);
  state.AddTensor("optimizer/state/0/step", DType::kI64, {}, &kStep);
  state.AddTensor("optimizer/state/0/exp_avg", DType::kF32, {2, 3}, kMoment);
  state.AddBytes("rng/cpu", "random");
  state.AddBytes("stray", "x");
  state.AddBytes("ckpt.json", R"({"format": "ckpt.state.v1", "objects": {
    "model": {"kind": "module", "keys": ["fc.weight"]},
    "optimizer": {"kind": "optimizer", "type": "AdamW",
                  "param_groups": [{"lr": 0.001, "betas": [0.9, 0.999], "params": [0]}],
                  "state_keys": {"0": ["step", "exp_avg"]}},
    "scheduler": {"kind": "scheduler", "type": "StepLR", "state": {"last_epoch": 3}},
    "rng": {"kind": "rng"},
    "best_metric": {"kind": "value", "value": {"$float": "inf"}},
    "epoch": {"kind": "value", "value": 3}}})");
  return state;
}

std::string Content(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

TEST(TargetKindOf, GoesByTheEnding) {
  EXPECT_EQ(TargetKindOf("a/b.safetensors"), TargetKind::kSafetensors);
  EXPECT_EQ(TargetKindOf("b.pt"), TargetKind::kTorch);
  EXPECT_EQ(TargetKindOf("b.pth"), TargetKind::kTorch);
  EXPECT_EQ(TargetKindOf("b.pt/"), TargetKind::kDirectory);
  EXPECT_EQ(TargetKindOf("out"), TargetKind::kDirectory);
}

TEST(EscapedFileName, IsOneSafeNameAndNeverTheSameForTwo) {
  EXPECT_EQ(EscapedFileName("model/fc.weight"), "model%2Ffc.weight");
  EXPECT_EQ(EscapedFileName("../x"), "%2E.%2Fx");
  EXPECT_EQ(EscapedFileName("."), "%2E");
  EXPECT_EQ(EscapedFileName("a b%"), "a%20b%25");
  const std::string a = EscapedFileName(std::string(1000, 'x') + "a");
  const std::string b = EscapedFileName(std::string(1000, 'x') + "b");
  EXPECT_LE(a.size(), 255u);
  EXPECT_NE(a, b);
}

TEST(DirectoryTarget, WritesAFileAnEntryAndAManifest) {
  const ckptd::os::TempDir folder;
  const MemoryShard shard(TrainingState());
  ASSERT_TRUE(shard.Fetch(folder / "out").ok());
  EXPECT_EQ(Content(folder / "out/model%2Ffc.weight"), shard.Value("model/fc.weight"));
  EXPECT_EQ(Content(folder / "out/rng%2Fcpu"), "random");
  const auto manifest = nlohmann::json::parse(Content(folder / "out/manifest.json"));
  EXPECT_EQ(manifest["step"], 1000);
  EXPECT_EQ(manifest["metrics"]["val_loss"], 1.25);
  EXPECT_EQ(manifest["entries"].size(), 6u);
  EXPECT_EQ(manifest["entries"][0]["file"], "model%2Ffc.weight");
  EXPECT_EQ(manifest["entries"][0]["dtype"], "F32");
}

TEST(SafetensorsTarget, HoldsTensorsAndSaysWhereTheyComeFrom) {
  const ckptd::os::TempDir folder;
  const MemoryShard shard(TrainingState());
  std::vector<std::string> notes;
  ASSERT_TRUE(shard.Fetch(folder / "x.safetensors", {}, &notes).ok());
  EXPECT_THAT(notes, ElementsAre(HasSubstr("3 entries that are no tensor")));
  const auto file = SafetensorsFile::Open(folder / "x.safetensors");
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ((*file)->header().entries.size(), 3u);
  const auto& metadata = (*file)->header().metadata;
  EXPECT_EQ(metadata.at("run"), "gpt");
  EXPECT_EQ(metadata.at("step"), "1000");
  EXPECT_EQ(metadata.at("metric:val_loss"), "1.25");
  EXPECT_EQ(metadata.at("label:git"), "abc");
  EXPECT_EQ(metadata.at("ckpt.bytes:rng/cpu"), "cmFuZG9t");
  EXPECT_THAT(metadata.at("ckpt.json"), HasSubstr("ckpt.state.v1"));
}

TEST(SafetensorsTarget, SaysWhatItLeavesOutAndRefusesNothing) {
  const ckptd::os::TempDir folder;
  State state = TrainingState();
  state.AddBytes("dataset", std::string(kMaxMetadataEntryBytes + 1, 'x'));
  const MemoryShard shard(state);
  std::vector<std::string> notes;
  ASSERT_TRUE(shard.Fetch(folder / "x.safetensors", {}, &notes).ok());
  EXPECT_THAT(notes, Contains(HasSubstr("left out, as too large for the metadata and no tensor: "
                                        "dataset")));
  EXPECT_EQ(shard.Fetch(folder / "y.safetensors", {"rng/*"}).code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_FALSE(fs::exists(folder / "y.safetensors"));
}

// The dict's keys, in order.
std::vector<std::string> Keys(const PyValue& value) {
  std::vector<std::string> keys;
  for (const auto& [key, item] : std::get<PyDict>(value.get()).items) {
    const auto* text = std::get_if<std::string>(&key.get());
    keys.push_back(text ? *text : fmt::format("{}", std::get<int64_t>(key.get())));
  }
  return keys;
}
const PyValue& At(const PyValue& value, const std::string& key) {
  static const PyValue none;
  const auto& items = std::get<PyDict>(value.get()).items;
  const std::vector<std::string> keys = Keys(value);
  for (size_t i = 0; i < items.size(); ++i) {
    if (keys[i] == key) return items[i].second;
  }
  ADD_FAILURE() << "no " << key;
  return none;
}

TorchLayout LayOutAll(const MemoryShard& shard) {
  ShardView view{&shard.checkpoint, 0, &shard.manifest, AllEntries(shard.manifest), {}};
  for (const auto& name : ValuesNeeded(TargetKind::kTorch, shard.manifest, view.entries)) {
    view.values[name] = shard.Value(name);
  }
  auto layout = LayOutTorch(view);
  EXPECT_TRUE(layout.ok()) << layout.status();
  return *std::move(layout);
}

TEST(TorchLayout, IsTheFamiliarDict) {
  const TorchLayout layout = LayOutAll(MemoryShard(TrainingState()));
  EXPECT_THAT(Keys(layout.root),
              ::testing::UnorderedElementsAre(
                  "model_state_dict", "optimizer_state_dict", "scheduler_state_dict", "rng_state",
                  "best_metric", "epoch", "entries", "step", "run", "checkpoint_id", "metrics"));
  EXPECT_THAT(Keys(At(layout.root, "model_state_dict")), ElementsAre("fc.weight"));
  EXPECT_TRUE(std::get<PyDict>(At(layout.root, "model_state_dict").get()).ordered);
  const PyValue& optimizer = At(layout.root, "optimizer_state_dict");
  EXPECT_THAT(Keys(optimizer), ElementsAre("state", "param_groups"));
  const PyValue& state = At(At(optimizer, "state"), "0");
  EXPECT_EQ(std::get<PyTensor>(At(state, "step").get()).dtype, DType::kF32) << "as Python counts";
  const PyValue& group = std::get<PyList>(At(optimizer, "param_groups").get()).items[0];
  EXPECT_THAT(Keys(group), Contains("capturable"));
  EXPECT_EQ(Keys(group).back(), "params");
  EXPECT_TRUE(std::holds_alternative<PyTuple>(At(group, "betas").get()));
  EXPECT_THAT(Keys(At(layout.root, "entries")), ElementsAre("stray"));
  EXPECT_EQ(std::get<double>(At(layout.root, "best_metric").get()),
            std::numeric_limits<double>::infinity());
}

TEST(TorchLayout, LbfgsHasNumbersAndListsAsPythonHas) {
  State state;
  const double t = 0.5;
  state.AddTensor("optimizer/state/0/n_iter", DType::kI64, {}, &kStep);
  state.AddTensor("optimizer/state/0/t", DType::kF64, {}, &t);
  for (int i = 0; i < 11; ++i) {
    state.AddTensor(fmt::format("optimizer/state/0/old_dirs.{}", i), DType::kF32, {6}, kMoment);
  }
  state.AddBytes("ckpt.json", R"({"format": "ckpt.state.v1", "objects": {
    "optimizer": {"kind": "optimizer", "type": "LBFGS", "param_groups": [{"params": [0]}]}}})");
  const TorchLayout layout = LayOutAll(MemoryShard(state));
  const PyValue& first = At(At(At(layout.root, "optimizer_state_dict"), "state"), "0");
  EXPECT_EQ(std::get<int64_t>(At(first, "n_iter").get()), kStep);
  EXPECT_EQ(std::get<double>(At(first, "t").get()), t);
  EXPECT_EQ(std::get<PyList>(At(first, "old_dirs").get()).items.size(), 11u);
}

TEST(TorchLayout, TensorsWithoutADocumentAreTheModel) {
  State state;
  state.AddTensor("fc.weight", DType::kF32, {2, 3}, kWeight);
  state.AddBytes("note", "hello");
  const TorchLayout layout = LayOutAll(MemoryShard(state));
  EXPECT_THAT(Keys(At(layout.root, "model_state_dict")), ElementsAre("fc.weight"));
  EXPECT_EQ(std::get<PyTensor>(At(layout.root, "note").get()).dtype, DType::kU8);
}

TEST(TorchTarget, RefusesADocumentOfAnUnknownFormat) {
  const ckptd::os::TempDir folder;
  State state;
  state.AddBytes("ckpt.json", R"({"format": "ckpt.state.v9"})");
  EXPECT_EQ(MemoryShard(state).Fetch(folder / "x.pt").code(), absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(fs::is_empty(folder.path()));
}

}  // namespace
}  // namespace ckpt::ctl
