#include "tests/crash/trial.h"

#include <cstdlib>
#include <iostream>
#include <random>

#include "tests/crash/checks.h"

namespace ckpt::crash {
namespace {

constexpr uint64_t kLookAtAllEvery = 20;  // rounds

}  // namespace

uint64_t FromEnvironment(const char* name, uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text != nullptr && *text != '\0' ? std::strtoull(text, nullptr, 10) : otherwise;
}

uint64_t Seed() {
  static const uint64_t seed = FromEnvironment("CKPT_CRASH_SEED", std::random_device()());
  std::cout << "CKPT_CRASH_SEED=" << seed << std::endl;
  return seed;
}

Trial::Trial(House* house, Random& random)
    : house_(*house),
      plain_({"default", "plain"}, 1, false),
      ranked_({"default", "ranked"}, 2, true),
      sharing_({"default", "sharing"}, 1, true),
      other_({"other", "plain"}, 1, false),
      runs_({&plain_, &ranked_, &sharing_, &other_}) {
  EXPECT_TRUE(house_.Start());
  for (const auto& runs : {std::vector{&plain_, &ranked_}, std::vector{&sharing_, &other_}}) {
    workers_.push_back(std::make_unique<Worker>(random(), &house_, &gate_, runs));
  }
  for (const auto& worker : workers_) {
    threads_.emplace_back([&worker = *worker] { worker.Run(); });
  }
  gate_.AwaitParked(2);
}

Trial::~Trial() {
  gate_.End();
  for (std::thread& thread : threads_) thread.join();
}

void Trial::Check(bool all) {
  const std::unique_ptr<Client> client = Connect(house_.address(), Patience::kRestart);
  for (RunModel* run : runs_) EXPECT_EQ(CheckRun(*client, *run, all), absl::OkStatus());
  EXPECT_EQ(CheckSpace(*client, house_, runs_), absl::OkStatus());
}

void Trial::Run(uint64_t rounds, const std::function<void(uint64_t round)>& interrupt) {
  for (uint64_t round = 1; round <= rounds && !testing::Test::HasFailure(); ++round) {
    SCOPED_TRACE(testing::Message() << "round " << round);
    gate_.Open(house_.kills());
    interrupt(round);
    gate_.Close();
    const bool all = round % kLookAtAllEvery == 0;
    if (!house_.is_up()) {
      if (all) {
        EXPECT_EQ(house_.CheckCatalog(), absl::OkStatus());
      }
      EXPECT_TRUE(house_.Start());
    }
    gate_.AwaitParked(2);
    Check(all);
  }
}

void Trial::Finish() {
  gate_.End();
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
  if (testing::Test::HasFailure()) return;
  Check(/*all=*/true);
  const std::unique_ptr<Client> client = Connect(house_.address(), Patience::kRestart);
  for (RunModel* run : runs_) {
    if (!run->exists) continue;
    EXPECT_EQ(client->DeleteRun(run->name).status(), absl::OkStatus());
    run->Apply({.kind = Change::Kind::kDeleteRun});
  }
  EXPECT_EQ(CheckSpace(*client, house_, runs_), absl::OkStatus());
  EXPECT_EQ(house_.MeasurePacks().files, 0u) << "packs that nobody needs";
  for (const auto& worker : workers_) {
    const Tally& tally = worker->tally();
    std::cout << tally.calls << " calls, " << tally.commits << " commits, " << tally.unanswered
              << " left unanswered, " << tally.ridden_out << " ridden out, " << tally.repeated
              << " made again by their id" << std::endl;
  }
}

uint64_t Trial::commits() const {
  uint64_t commits = 0;
  for (const auto& worker : workers_) commits += worker->tally().commits;
  return commits;
}

}  // namespace ckpt::crash
