#include "client/checkpointer.h"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/client/fake_daemon.h"

namespace ckpt {
namespace {

using ::testing::ElementsAre;

class CheckpointerTest : public ::testing::Test {
 protected:
  std::unique_ptr<Checkpointer> Open(OnBusy on_busy = OnBusy::kWait, size_t queue_length = 1) {
    CheckpointerOptions options{.client = daemon_.options(), .run = {"", "run"}};
    options.launch_id = "launch";
    options.on_busy = on_busy;
    options.queue_length = queue_length;
    options.on_result = [this](const SaveResult& result) {
      absl::MutexLock lock(&mutex_);
      results_.push_back(result);
    };
    options.on_lost_error = [this](const absl::Status& status) { lost_.push_back(status); };
    auto checkpointer = Checkpointer::Open(std::move(options));
    EXPECT_TRUE(checkpointer.ok()) << checkpointer.status();
    return *std::move(checkpointer);
  }
  State OneTensor(float value) {
    value_ = {value, value};
    State state;
    state.AddTensor("model/w", DType::kF32, {2}, value_.data());
    return state;
  }
  static absl::Status Fenced() {
    return MakeError(absl::StatusCode::kFailedPrecondition, reason::kAttemptFenced, "fenced");
  }

  FakeDaemon daemon_;
  std::vector<float> value_;
  absl::Mutex mutex_;
  std::vector<SaveResult> results_;
  std::vector<absl::Status> lost_;
};

TEST_F(CheckpointerTest, SavesAndResumes) {
  const auto checkpointer = Open();
  EXPECT_EQ(checkpointer->attempt().number, 1u);
  const auto fresh = checkpointer->Resume();
  ASSERT_TRUE(fresh.ok()) << fresh.status();
  EXPECT_FALSE(fresh->checkpoint.has_value());

  ASSERT_TRUE(checkpointer->Save(5, OneTensor(2.5), {.metrics = {{"val_loss", 0.5}}}).ok());
  ASSERT_TRUE(checkpointer->Flush().ok());
  ASSERT_EQ(results_.size(), 1u);
  EXPECT_EQ(results_[0].checkpoint->step, 5u);

  const auto resumed = checkpointer->Resume();
  ASSERT_TRUE(resumed.ok()) << resumed.status();
  ASSERT_TRUE(resumed->checkpoint.has_value());
  float loaded[2] = {};
  ASSERT_TRUE(
      checkpointer
          ->Load(*resumed, {{.entry = "model/w", .data = reinterpret_cast<std::byte*>(loaded)}})
          .ok());
  EXPECT_THAT(loaded, ElementsAre(2.5, 2.5));
  ASSERT_EQ(daemon_.reports().size(), 1u);
  EXPECT_TRUE(daemon_.reports()[0].ok());
}

int Niceness() { return getpriority(PRIO_PROCESS, static_cast<id_t>(gettid())); }

TEST_F(CheckpointerTest, GivesWayToTraining) {
  std::vector<int> pushed_with;
  for (const int nice : {10, 0}) {
    CheckpointerOptions options{.client = daemon_.options(), .run = {"", "run"}};
    options.background_nice = nice;
    options.on_result = [&](const SaveResult&) { pushed_with.push_back(Niceness()); };
    const auto checkpointer = Checkpointer::Open(std::move(options));
    ASSERT_TRUE(checkpointer.ok()) << checkpointer.status();
    ASSERT_TRUE((*checkpointer)->Save(5, OneTensor(1)).ok());
    ASSERT_TRUE((*checkpointer)->Flush().ok());
  }
  const int trains_with = Niceness();
  EXPECT_THAT(pushed_with, ElementsAre(std::max(trains_with, 10), trains_with));
}

TEST_F(CheckpointerTest, TellsTheDaemonOfDamagedBytes) {
  const auto checkpointer = Open();
  ASSERT_TRUE(checkpointer->Save(5, OneTensor(1)).ok());
  ASSERT_TRUE(checkpointer->Flush().ok());
  const auto resumed = checkpointer->Resume();
  ASSERT_TRUE(resumed.ok());
  daemon_.fetch_damaged = 100;
  float loaded[2];
  EXPECT_EQ(
      checkpointer
          ->Load(*resumed, {{.entry = "model/w", .data = reinterpret_cast<std::byte*>(loaded)}})
          .code(),
      absl::StatusCode::kDataLoss);
  ASSERT_EQ(daemon_.reports().size(), 1u);
  EXPECT_FALSE(daemon_.reports()[0].ok());
  EXPECT_TRUE(daemon_.reports()[0].checkpoint_at_fault());
}

TEST_F(CheckpointerTest, TheStateMayChangeOnceSaveReturned) {
  const auto checkpointer = Open();
  daemon_.set_gate(false);
  ASSERT_TRUE(checkpointer->Save(1, OneTensor(1)).ok());
  value_ = {7, 7};
  daemon_.set_gate(true);
  ASSERT_TRUE(checkpointer->Flush().ok());
  const auto resumed = checkpointer->Resume();
  const auto bytes = FetchEntries(checkpointer->client(), resumed->checkpoint->id, 0,
                                  resumed->manifest, {"model/w"});
  ASSERT_TRUE(bytes.ok()) << bytes.status();
  EXPECT_EQ(*reinterpret_cast<const float*>((*bytes)[0].data()), 1);
}

TEST_F(CheckpointerTest, SkipLeavesOutASaveWhileBusy) {
  const auto checkpointer = Open(OnBusy::kSkip);
  daemon_.set_gate(false);
  EXPECT_EQ(*checkpointer->Save(1, OneTensor(1)), SaveOutcome::kStaged);
  EXPECT_EQ(*checkpointer->Save(2, OneTensor(2)), SaveOutcome::kSkipped);
  daemon_.set_gate(true);
  ASSERT_TRUE(checkpointer->Flush().ok());
  EXPECT_EQ(*checkpointer->Save(3, OneTensor(3)), SaveOutcome::kStaged);
  ASSERT_TRUE(checkpointer->Flush().ok());
  EXPECT_THAT(daemon_.committed_steps(), ElementsAre(1u, 3u));
}

TEST_F(CheckpointerTest, WaitHoldsTheSaveUntilTheOneBeforeIsDurable) {
  const auto checkpointer = Open(OnBusy::kWait);
  daemon_.set_gate(false);
  ASSERT_TRUE(checkpointer->Save(1, OneTensor(1)).ok());
  std::atomic<bool> returned{false};
  std::thread second([&] {
    EXPECT_TRUE(checkpointer->Save(2, OneTensor(2)).ok());
    returned = true;
  });
  EXPECT_EQ(checkpointer->FlushFor(absl::Milliseconds(20)).code(),
            absl::StatusCode::kDeadlineExceeded);
  EXPECT_FALSE(returned);
  daemon_.set_gate(true);
  second.join();
  ASSERT_TRUE(checkpointer->Flush().ok());
  EXPECT_THAT(daemon_.committed_steps(), ElementsAre(1u, 2u));
}

TEST_F(CheckpointerTest, QueueTakesAsManyAsItsLengthAndKeepsTheirOrder) {
  const auto checkpointer = Open(OnBusy::kQueue, 2);
  daemon_.set_gate(false);
  for (uint64_t step = 1; step <= 3; ++step) {  // one under way, two waiting
    ASSERT_TRUE(checkpointer->Save(step, OneTensor(step)).ok());
  }
  std::atomic<bool> returned{false};
  std::thread fourth([&] {
    EXPECT_TRUE(checkpointer->Save(4, OneTensor(4)).ok());
    returned = true;
  });
  EXPECT_FALSE(checkpointer->FlushFor(absl::Milliseconds(20)).ok());
  EXPECT_FALSE(returned);
  daemon_.set_gate(true);
  fourth.join();
  ASSERT_TRUE(checkpointer->Flush().ok());
  EXPECT_THAT(daemon_.committed_steps(), ElementsAre(1u, 2u, 3u, 4u));
}

TEST_F(CheckpointerTest, FlushReportsTheFirstErrorOnce) {
  const auto checkpointer = Open();
  daemon_.set_commit_error(
      MakeError(absl::StatusCode::kResourceExhausted, reason::kNoSpace, "full"));
  ASSERT_TRUE(checkpointer->Save(1, OneTensor(1)).ok());
  const absl::Status status = checkpointer->Flush();
  EXPECT_TRUE(HasReason(status, reason::kNoSpace)) << status;
  EXPECT_EQ(status.message(), "saving step 1: full");
  EXPECT_TRUE(checkpointer->Flush().ok());
  EXPECT_TRUE(HasReason(checkpointer->LastError(), reason::kNoSpace));
  daemon_.set_commit_error(absl::OkStatus());
  ASSERT_TRUE(checkpointer->Save(2, OneTensor(2)).ok());
  ASSERT_TRUE(checkpointer->Flush().ok());
  EXPECT_TRUE(checkpointer->LastError().ok());
}

TEST_F(CheckpointerTest, TheNextSaveReportsAnErrorAndStagesAllTheSame) {
  const auto checkpointer = Open();
  daemon_.set_commit_error(
      MakeError(absl::StatusCode::kResourceExhausted, reason::kNoSpace, "full"));
  ASSERT_TRUE(checkpointer->Save(1, OneTensor(1)).ok());
  // Until the push has failed, so that the next save finds its error.
  while (checkpointer->LastError().ok()) std::this_thread::yield();
  daemon_.set_commit_error(absl::OkStatus());
  EXPECT_TRUE(HasReason(checkpointer->Save(2, OneTensor(2)).status(), reason::kNoSpace));
  ASSERT_TRUE(checkpointer->Flush().ok());
  EXPECT_THAT(daemon_.committed_steps(), ElementsAre(2u));
}

TEST_F(CheckpointerTest, AFencedAttemptSavesNoMore) {
  const auto checkpointer = Open();
  daemon_.set_commit_error(Fenced());
  ASSERT_TRUE(checkpointer->Save(1, OneTensor(1)).ok());
  EXPECT_FALSE(checkpointer->Flush().ok());
  daemon_.set_commit_error(absl::OkStatus());
  for (uint64_t step = 2; step < 4; ++step) {
    EXPECT_TRUE(HasReason(checkpointer->Save(step, OneTensor(1)).status(), reason::kAttemptFenced));
  }
  EXPECT_TRUE(daemon_.committed_steps().empty());
}

TEST_F(CheckpointerTest, DestructionFlushesAndLosesNoErrorSilently) {
  {
    const auto checkpointer = Open(OnBusy::kQueue, 3);
    for (uint64_t step = 1; step <= 3; ++step) {
      ASSERT_TRUE(checkpointer->Save(step, OneTensor(step)).ok());
    }
  }
  EXPECT_THAT(daemon_.committed_steps(), ElementsAre(1u, 2u, 3u));
  EXPECT_TRUE(lost_.empty());
  daemon_.set_commit_error(Fenced());
  {
    const auto checkpointer = Open();
    ASSERT_TRUE(checkpointer->Save(9, OneTensor(9)).ok());
  }
  ASSERT_EQ(lost_.size(), 1u);
  EXPECT_TRUE(HasReason(lost_[0], reason::kAttemptFenced));
}

TEST_F(CheckpointerTest, CancelMakesFlushQuick) {
  const auto checkpointer = Open();
  daemon_.set_gate(false);
  ASSERT_TRUE(checkpointer->Save(1, OneTensor(1)).ok());
  checkpointer->CancelPushes();
  EXPECT_EQ(checkpointer->Flush().code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(checkpointer->Save(2, OneTensor(2)).status().code(), absl::StatusCode::kCancelled);
  daemon_.set_gate(true);
}

TEST_F(CheckpointerTest, ABadStateIsRefusedAndNothingIsSaved) {
  const auto checkpointer = Open();
  State twice;
  twice.AddBytes("a", "1");
  twice.AddBytes("a", "2");
  State failing;
  failing.Add({.name = "device", .length = 3, .copy = [](std::span<std::byte>) {
                 return absl::InternalError("the device is gone");
               }});
  EXPECT_EQ(checkpointer->Save(1, twice).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(checkpointer->Save(1, failing).status().message(),
            "copying entry device: the device is gone");
  ASSERT_TRUE(checkpointer->Save(2, OneTensor(1)).ok());
  ASSERT_TRUE(checkpointer->Flush().ok());
  EXPECT_THAT(daemon_.committed_steps(), ElementsAre(2u));
}

TEST_F(CheckpointerTest, AReserveOfAnySizeLeavesSavesAsTheyWere) {
  // Ready long before, just begun, too small, in vain, impossible.
  for (const uint64_t bytes : {uint64_t{0}, uint64_t{1}, uint64_t{64} << 20, uint64_t{1} << 60}) {
    for (const bool wait : {false, true}) {
      const auto checkpointer = Open();
      checkpointer->Reserve(bytes);
      if (wait) absl::SleepFor(absl::Milliseconds(20));
      for (const uint64_t step : {1, 2}) {
        ASSERT_TRUE(checkpointer->Save(step, OneTensor(1.5)).ok()) << bytes;
        ASSERT_TRUE(checkpointer->Flush().ok()) << bytes;
        EXPECT_EQ(results_.back().step, step);
        checkpointer->Reserve(bytes);
      }
    }
  }
}

TEST_F(CheckpointerTest, DestructionDoesNotWaitForAReserve) {
  Open()->Reserve(uint64_t{4} << 30);
  EXPECT_TRUE(results_.empty());
}

TEST_F(CheckpointerTest, LargeStatesAreCopiedWhole) {
  const auto checkpointer = Open();
  std::vector<uint64_t> numbers((40 << 20) / sizeof(uint64_t));
  for (size_t i = 0; i < numbers.size(); ++i) numbers[i] = i * 0x9E3779B97F4A7C15;
  State state;
  state.AddTensor("big", DType::kU64, {static_cast<int64_t>(numbers.size())}, numbers.data());
  state.Add({.name = "device", .length = 4, .copy = [](std::span<std::byte> into) {
               std::memcpy(into.data(), "here", 4);
               return absl::OkStatus();
             }});
  ASSERT_TRUE(checkpointer->Save(1, state).ok());
  ASSERT_TRUE(checkpointer->Flush().ok());
  const auto resumed = checkpointer->Resume();
  const auto bytes =
      FetchEntries(checkpointer->client(), 1, 0, resumed->manifest, {"big", "device"});
  ASSERT_TRUE(bytes.ok()) << bytes.status();
  EXPECT_EQ(std::memcmp((*bytes)[0].data(), numbers.data(), (*bytes)[0].size()), 0);
  EXPECT_EQ((*bytes)[1], "here");
}

TEST_F(CheckpointerTest, OpenRefusesARankOutsideTheWorld) {
  CheckpointerOptions options{.client = daemon_.options(), .run = {"", "run"}};
  options.rank = 2;
  options.world_size = 2;
  EXPECT_EQ(Checkpointer::Open(options).status().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace ckpt
