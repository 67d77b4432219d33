// Bits flip and files are cut short at rest: what is damaged is found before a
// byte of it is served, and what is not damaged is served as before.
#include <iostream>
#include <map>

#include <gtest/gtest.h>

#include "proto/convert.h"
#include "tests/crash/checks.h"
#include "tests/crash/scenario.h"
#include "tests/crash/simulated_house.h"
#include "tests/crash/trial.h"

namespace ckpt::crash {
namespace {

using ckptd::os::SimulatedDisk;

std::string KindOf(const std::string& path) {
  if (path.find(".pack") != path.npos) return "pack";
  return path.substr(path.rfind('/') + 1);
}

// What a checkpoint is, without what may be found out about it later.
std::string Identity(Checkpoint checkpoint) {
  if (!checkpoint.damage.empty()) checkpoint.removed_at.reset();  // as a damaged one may be
  checkpoint.damage.clear();
  checkpoint.verdict = {};
  return ToProto(checkpoint).ShortDebugString();
}

class RotTest : public testing::Test {
 protected:
  // Pushes, and goes down in order or with the power.
  void Prepare(bool in_order) {
    ASSERT_TRUE(house_.Start());
    {
      const auto client = Connect(house_.address(), Patience::kRestart);
      ASSERT_EQ(scenario_.Play(*client), absl::OkStatus());
      ASSERT_EQ(CheckSpace(*client, house_, {&scenario_.run()}), absl::OkStatus());
      const auto listed = List(*client, scenario_.run().name);
      ASSERT_TRUE(listed.ok() && *listed);
      for (const Checkpoint& checkpoint : **listed) {
        identities_[checkpoint.id] = Identity(checkpoint);
      }
    }
    if (in_order) {
      house_.Drain();
    } else {
      house_.CutPower(1'000'000, absl::ZeroDuration(), random_);
    }
    image_ = house_.disk().Save();
  }

  // Of the file, at random.
  void Damage(const SimulatedDisk::FileAt& file) {
    const double dice = std::uniform_real_distribution<>()(random_);
    if (dice < 0.9) {
      house_.disk().FlipBit(file.path, Below(random_, file.size * 8));
    } else {
      house_.disk().CutOff(file.path, Below(random_, file.size));
    }
  }

  // What can be had is what was pushed; what cannot is said to be damaged.
  void Check(const std::string& kind) {
    const absl::Status started = house_.TryStart();
    if (!started.ok()) {
      EXPECT_NE(ReasonOf(started), "") << started;
      ++refused_[kind];
      return;
    }
    const auto client = Connect(house_.address(), Patience::kRestart);
    bool whole = true;
    for (const auto& [id, known] : scenario_.run().kept) {
      const auto checkpoint = client->GetCheckpoint(id);
      if (!checkpoint.ok()) {
        EXPECT_TRUE(absl::IsDataLoss(checkpoint.status())) << checkpoint.status();
        whole = false;
        continue;
      }
      EXPECT_EQ(Identity(checkpoint->checkpoint), identities_[id]);
      const absl::Status contents = CheckContents(*client, id, 0, *known.shards[0]);
      if (contents.ok()) continue;
      whole = false;
      // Said by the daemon, with its reason; not found out by comparing here.
      EXPECT_NE(ReasonOf(contents), "") << contents;
      EXPECT_TRUE(absl::IsDataLoss(contents) || HasReason(contents, reason::kCheckpointRemoved))
          << contents;
    }
    ++(whole ? harmless_ : found_)[kind];
    house_.Drain();
  }

  void Rot(uint64_t rounds) {
    const std::vector<SimulatedDisk::FileAt> files = house_.disk().Files();
    for (uint64_t round = 1; round <= rounds && !HasFailure(); ++round) {
      house_.disk().Load(*image_);
      // Each kind of file as often, not each byte.
      const SimulatedDisk::FileAt& file = files[Below(random_, files.size())];
      if (file.size == 0) continue;
      Damage(file);
      SCOPED_TRACE(testing::Message() << "round " << round << ": " << file.path);
      Check(KindOf(file.path));
    }
    for (const auto& [what, counts] :
         std::map<std::string, const std::map<std::string, uint64_t>*>{
             {"changed nothing", &harmless_}, {"found", &found_}, {"refused to start", &refused_}}) {
      std::cout << what << ":";
      for (const auto& [kind, count] : *counts) std::cout << " " << kind << " " << count;
      std::cout << std::endl;
    }
    EXPECT_GT(found_["pack"], 0u) << "nothing was damaged";
  }

  Random random_{Seed()};
  SimulatedHouse house_;
  Scenario scenario_{7};
  std::map<uint64_t, std::string> identities_;
  std::shared_ptr<const SimulatedDisk::Image> image_;
  std::map<std::string, uint64_t> harmless_, found_, refused_;  // by kind of file
};

uint64_t Rounds() { return FromEnvironment("CKPT_CRASH_ROT", 40); }

TEST_F(RotTest, IsFoundInWhatWasClosedInOrder) {
  Prepare(/*in_order=*/true);
  Rot(Rounds());
}

TEST_F(RotTest, IsFoundInWhatAPowerCutLeft) {
  Prepare(/*in_order=*/false);
  Rot(Rounds());
}

}  // namespace
}  // namespace ckpt::crash
