// Several threads at once. These assert little: they are for what hangs, what
// crashes, and what ThreadSanitizer sees.
#include <atomic>

#include "tests/unit/daemon/store/fixture.h"

namespace ckptd {
namespace {

// Runs `work(thread)` on each of `count` threads, and waits for them.
void OnThreads(int count, const std::function<void(int)>& work) {
  std::vector<std::thread> threads;
  for (int i = 0; i < count; ++i) threads.emplace_back([&work, i] { work(i); });
  for (std::thread& thread : threads) thread.join();
}

TEST_F(StoreTest, StreamsCommitsAndRepeatedOpensOfOneUpload) {
  Attempt("a");
  for (uint64_t step = 1; step <= 30; ++step) {
    const int base = static_cast<int>(step) * 100;
    const Shard shard{.step = step, .seeds = {base, base + 1, base + 2, base + 3}};
    const auto opened = Get(Begin(shard));
    std::atomic<uint64_t> id = 0;
    OnThreads(4, [&](int thread) {
      if (thread < 2) {
        EXPECT_EQ(Why(Send(shard, opened)), "OK");
      } else {
        EXPECT_EQ(Why(Begin(shard)), "OK");
        EXPECT_EQ(Why(Begin({.step = 1000 + step, .seeds = {base}})), "OK");
      }
    });
    OnThreads(3, [&](int) {
      const auto result = store_->CommitShard(opened.upload_id);
      ASSERT_EQ(Why(result), "OK");
      uint64_t none = 0;
      if (!id.compare_exchange_strong(none, result->checkpoint->id)) {
        EXPECT_EQ(result->checkpoint->id, id.load());
      }
    });
  }
  EXPECT_EQ(Steps(), (std::vector<uint64_t>{30, 29, 28}));
}

TEST_F(StoreTest, ReadersAgainstRemovals) {
  Attempt("a", 1, r_, KeepLast(1));
  std::atomic<bool> done = false;
  std::atomic<int> reads = 0;
  std::thread pusher([&] {
    for (uint64_t step = 1; step <= 60; ++step) {
      Push({.step = step, .seeds = {static_cast<int>(step), static_cast<int>(step) + 1}});
    }
    done = true;
  });
  OnThreads(3, [&](int) {
    while (!done) {
      const auto latest = store_->Resolve(r_, ckpt::SelectLatest{}, false);
      if (!latest.ok()) continue;
      const auto reader = store_->OpenReader(latest->checkpoint.id, 0);
      if (!reader.ok()) {
        EXPECT_EQ(Why(reader), "CHECKPOINT_REMOVED");
        continue;
      }
      for (uint32_t i = 0; i < 2; ++i) EXPECT_EQ(Why((*reader)->Read(i)), "OK");
      ++reads;
    }
  });
  pusher.join();
  EXPECT_GT(reads, 0);
  EXPECT_TRUE(Eventually([&] { return Steps() == std::vector<uint64_t>{60}; }));
}

TEST_F(StoreTest, RestartsAgainstUploadsUnderWay) {
  std::atomic<bool> done = false;
  Attempt("0");
  std::thread restarts([&] {
    for (int i = 1; i <= 40; ++i) Attempt(std::to_string(i));
    done = true;
  });
  OnThreads(3, [&](int thread) {
    for (uint64_t step = 1; !done; ++step) {
      const uint64_t attempt = Get(store_->GetRun(r_)).run.newest_attempt;
      const auto pushed =
          TryPush({.attempt = attempt, .step = step * 10 + static_cast<uint64_t>(thread)});
      // Fenced, or dropped with what it had sent.
      const std::string why = Why(pushed);
      EXPECT_TRUE(why == "OK" || why == "ATTEMPT_FENCED" || why == "UPLOAD_NOT_FOUND") << why;
    }
  });
  restarts.join();
  Push({.attempt = 41, .step = 1'000'000});
  EXPECT_TRUE(Eventually([&] { return Get(store_->GetStats(std::nullopt)).open_uploads == 0; }));
  EXPECT_TRUE(store_->Verify(r_, 0, [](const auto& p) { return p.damages.empty(); }).ok());
}

TEST_F(StoreTest, ClosingWhileTheJanitorJudges) {
  Attempt("a", 1, r_, [] {
    ckpt::Policy policy;
    policy.keep_best = {{"val_loss", ckpt::MetricMode::kMin, 1}};
    return policy;
  }());
  Push({.step = 1, .pending = {"val_loss"}});
  for (int i = 0; i < 50; ++i) Reopen();
  EXPECT_EQ(Latest(), 1u);
}

TEST_F(StoreTest, EverythingAtOnce) {
  const uint64_t attempt = Attempt("a");
  std::atomic<uint64_t> step = 0;
  OnThreads(6, [&](int thread) {
    for (int i = 0; i < 25; ++i) {
      switch (thread) {
        case 0:
        case 1:
          Get(TryPush({.attempt = attempt, .step = ++step}));
          break;
        case 2:
          (void)store_->Prune(r_, i % 2 == 0);
          (void)store_->Rewind(r_, step / 2 + 1);
          break;
        case 3:
          (void)store_->Pin(r_, step, "p");
          (void)store_->Unpin(r_, step, "p");
          (void)store_->AttachMetrics(r_, step, {{"val_loss", 1.0 / (i + 1)}});
          break;
        case 4:
          (void)Resume(attempt);
          (void)store_->Verify(r_, 0, [](const auto& p) {
            EXPECT_TRUE(p.damages.empty());
            return true;
          });
          break;
        default:
          (void)store_->GetStats(std::nullopt);
          (void)store_->DeleteCheckpoints(r_, {step / 2 + 1}, false);
          store_->SetDefaultPolicy(KeepLast(static_cast<uint32_t>(i % 4 + 1)));
      }
    }
  });
  EXPECT_GT(Latest(), 0u);
}

}  // namespace
}  // namespace ckptd
