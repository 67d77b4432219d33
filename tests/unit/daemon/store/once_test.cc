// Calls that come again: one effect, one answer.
#include "tests/unit/daemon/store/fixture.h"

namespace ckptd {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class OnceTest : public StoreTest {
 protected:
  static RequestKey Key(const std::string& id, const std::string& method = "Method",
                        const std::string& request = "request") {
    return {id, method, ckpt::HashBytes(request)};
  }
  // Remembers `text` as the answer.
  template <typename Result>
  static Once<Result> As(const RequestKey& key, const std::string& text = "answer") {
    return {key, [text](const Result&) { return text; }};
  }
  std::string Remembered(const RequestKey& key) {
    return Get(store_->AnsweredBefore(key)).value_or("nothing");
  }
  // All that a second effect would show in.
  std::string Picture() {
    std::string picture;
    for (const char* run : {"r", "other", "new"}) {
      absl::StatusOr<Store::RunDetails> details = store_->GetRun(Run(run));
      if (!details.ok()) continue;
      picture +=
          fmt::format("{}: attempt {}, {} timelines, policy {}\n", run, details->run.newest_attempt,
                      details->timelines.size(), details->run.policy.version);
      for (const ckpt::Checkpoint& c : List(true, Run(run))) {
        picture += fmt::format("{} {} {}\n", c.id, c.step, c.removed_at.has_value());
      }
      for (const auto& event : Get(store_->ListEvents(Run(run), 0, 0, 1000))) {
        picture += fmt::format("{} {}\n", event.id, event.text);
      }
    }
    return picture;
  }
};

TEST_F(OnceTest, ACallThatComesAgainHasOneEffect) {
  struct Case {
    const char* what;
    std::function<absl::Status(const RequestKey&)> call;
  };
  ckpt::Policy policy;  // keeps all
  policy.restore_grace = absl::Hours(1);
  Attempt("a", 1, r_, policy);
  std::map<uint64_t, uint64_t> ids;
  for (uint64_t step = 1; step <= 5; ++step) ids[step] = Push({.step = step}).id;
  Get(store_->Pin(r_, ids[2], "held"));
  Get(store_->SetAlias(r_, ids[2], "good"));
  Get(store_->DeleteCheckpoints(r_, {ids[1]}, false));
  Attempt("other", 1, Run("other"));
  Push({.step = 1, .run = Run("other")});
  const uint64_t attempt = Attempt("b");
  const std::string ticket = Get(Resume(attempt)).ticket_id;
  const std::string upload = Get(Begin({.attempt = attempt, .step = 9})).upload_id;
  const uint64_t version = Get(store_->GetPolicy(r_)).policy.version;
  using ckpt::Checkpoint;
  using Pruned = Store::PruneResult;
  const std::vector<Case> cases = {
      {"OpenAttempt",
       [&](const RequestKey& key) {
         return store_
             ->OpenAttempt(Run("new"), "l", 1, std::nullopt, false, As<Store::OpenedAttempt>(key))
             .status();
       }},
      {"AbortUpload",
       [&](const RequestKey& key) { return store_->AbortUpload(upload, As<Done>(key)); }},
      {"AttachMetrics",
       [&](const RequestKey& key) {
         return store_->AttachMetrics(r_, ids[3], {{"m", 1}}, As<Checkpoint>(key)).status();
       }},
      {"ReportLoad",
       [&](const RequestKey& key) {
         return store_->ReportLoad(ticket, 0, false, "no key", false, As<Done>(key));
       }},
      {"SetPolicy",
       [&](const RequestKey& key) {
         return store_->SetPolicy(r_, policy, false, version, As<Pruned>(key)).status();
       }},
      {"SetPolicy of whatever version",
       [&](const RequestKey& key) {
         return store_->SetPolicy(r_, policy, false, 0, As<Pruned>(key)).status();
       }},
      {"Prune",
       [&](const RequestKey& key) { return store_->Prune(r_, false, As<Pruned>(key)).status(); }},
      {"PruneProject",
       [&](const RequestKey& key) {
         return store_->PruneProject("default", false, As<std::vector<Pruned>>(key)).status();
       }},
      {"DeleteCheckpoints",
       [&](const RequestKey& key) {
         return store_->DeleteCheckpoints(r_, {ids[4]}, false, As<Pruned>(key)).status();
       }},
      {"RestoreCheckpoint",
       [&](const RequestKey& key) {
         return store_->RestoreCheckpoint(r_, ids[1], As<Checkpoint>(key)).status();
       }},
      {"Pin",
       [&](const RequestKey& key) {
         return store_->Pin(r_, ids[3], "p", As<Checkpoint>(key)).status();
       }},
      {"Unpin",
       [&](const RequestKey& key) {
         return store_->Unpin(r_, ids[2], "held", As<Checkpoint>(key)).status();
       }},
      {"SetAlias",
       [&](const RequestKey& key) {
         return store_->SetAlias(r_, ids[3], "best-so-far", As<Checkpoint>(key)).status();
       }},
      {"DeleteAlias",
       [&](const RequestKey& key) { return store_->DeleteAlias(r_, "good", As<Done>(key)); }},
      {"Rewind",
       [&](const RequestKey& key) {
         return store_->Rewind(r_, ids[2], As<ckpt::Run>(key)).status();
       }},
      {"DeleteRun",
       [&](const RequestKey& key) {
         return store_->DeleteRun(Run("other"), false, As<Pruned>(key)).status();
       }},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.what);
    const RequestKey key = Key(c.what, c.what);
    EXPECT_EQ(Remembered(key), "nothing");
    EXPECT_EQ(Why(c.call(key)), "OK");
    EXPECT_EQ(Remembered(key), "answer");
    const std::string before = Picture();
    // A second try that did not ask first: refused, or rolled back.
    EXPECT_NE(Why(c.call(key)), "OK");
    EXPECT_EQ(Picture(), before);
    EXPECT_EQ(Remembered(key), "answer");
    EXPECT_EQ(Why(store_->AnsweredBefore(Key(c.what, c.what, "another"))), "REQUEST_ID_REUSED");
  }
  Reopen();
  for (const Case& c : cases) EXPECT_EQ(Remembered(Key(c.what, c.what)), "answer") << c.what;
}

TEST_F(OnceTest, DryRunsAndFailuresAreNotRemembered) {
  PushSteps("a", {1, 2});
  const RequestKey key = Key("id");
  const auto once = As<Store::PruneResult>(key);
  Get(store_->SetPolicy(r_, KeepLast(1), /*dry_run=*/true, 0, once));
  Get(store_->Prune(r_, true, once));
  Get(store_->PruneProject("default", true, As<std::vector<Store::PruneResult>>(key)));
  Get(store_->DeleteCheckpoints(r_, {1}, true, once));
  Get(store_->DeleteRun(r_, true, once));
  EXPECT_EQ(Why(store_->DeleteAlias(r_, "none", As<Done>(key))), "ALIAS_NOT_FOUND");
  EXPECT_EQ(Why(store_->Unpin(r_, 1, "none", As<ckpt::Checkpoint>(key))), "PIN_NOT_FOUND");
  EXPECT_EQ(Remembered(key), "nothing");
}

TEST_F(OnceTest, AnAnswerIsKeptForADay) {
  PushSteps("a", {1});
  for (int i = 0; i < 600; ++i) {  // more than are forgotten at a time
    Get(store_->Pin(r_, 1, "p", As<ckpt::Checkpoint>(Key(fmt::format("old{}", i)))));
  }
  clock_.Advance(absl::Hours(24));
  Get(store_->Pin(r_, 1, "p", As<ckpt::Checkpoint>(Key("new"))));
  EXPECT_EQ(Remembered(Key("old0")), "answer");
  clock_.Advance(absl::Seconds(1));
  EXPECT_TRUE(Eventually([&] { return Remembered(Key("old599")) == "nothing"; }));
  EXPECT_EQ(Remembered(Key("old0")), "nothing");
  EXPECT_EQ(Remembered(Key("new")), "answer");
}

TEST_F(OnceTest, OfTriesAtTheSameTimeOneHasItsEffect) {
  const auto ids = PushSteps("a", {1, 2, 3});
  std::vector<std::thread> threads;
  std::atomic<int> succeeded = 0;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&, i] {
      const auto once = As<ckpt::Run>(Key("id"), std::to_string(i));
      if (store_->Rewind(r_, ids.at(1), once).ok()) ++succeeded;
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(succeeded, 1);
  EXPECT_EQ(Get(store_->GetRun(r_)).timelines.size(), 2u);
}

TEST_F(OnceTest, ALoadReportThatComesAgainWithoutAnIdChangesNothing) {
  const auto ids = PushSteps("a", {1, 2});
  const std::string ticket = Get(Resume(Attempt("b"))).ticket_id;
  const auto report = [&](const std::string& error, bool at_fault) {
    EXPECT_EQ(Why(store_->ReportLoad(ticket, 0, error.empty(), error, at_fault)), "OK");
    return History(ids.at(2)).size();
  };
  const size_t once = report("no key", false);
  EXPECT_EQ(report("no key", false), once);
  // Another one replaces it, and the history has both.
  EXPECT_EQ(report("", false), once + 1);
  EXPECT_EQ(report("", false), once + 1);
  // That the checkpoint is at fault is news too; flagged once, also when it
  // proved whole in between.
  EXPECT_EQ(report("no key", true), once + 3);
  EXPECT_THAT(Get(store_->GetCheckpoint(ids.at(2))).damage, HasSubstr("no key"));
  EXPECT_EQ(Why(store_->Verify(r_, ids.at(2), [](const auto&) { return true; })), "OK");
  EXPECT_EQ(Get(store_->GetCheckpoint(ids.at(2))).damage, "");
  report("no key", true);
  EXPECT_EQ(Get(store_->GetCheckpoint(ids.at(2))).damage, "");
}

}  // namespace
}  // namespace ckptd
