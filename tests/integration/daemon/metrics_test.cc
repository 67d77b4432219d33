// What /metrics says is what was done.
#include <fcntl.h>

#include <filesystem>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/integration/daemon/operated.h"
#include "tests/testing/programs.h"

namespace ckpt::test {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

const RunName kRun{"default", "counted"};

Policy KeepLast(uint32_t count) {
  Policy policy;
  policy.keep_last = count;
  return policy;
}

class MetricsTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(daemon_.Start());
    client_ = Connect(daemon_.address());
  }

  ckptd::os::TempDir dir_;
  OperatedDaemon daemon_{dir_ / "data", {"--compress", "off"}};
  std::unique_ptr<Client> client_;
};

TEST_F(MetricsTest, AreWhatWasDone) {
  const Series before = daemon_.Metrics();
  const uint64_t attempt = OpenAttempt(*client_, kRun, 1, KeepLast(2));
  uint64_t total = 0, sent = 0, stored = 0, chunks = 0;
  std::vector<Checkpoint> checkpoints;
  for (uint64_t step = 1; step <= 3; ++step) {
    // Half of it is the same each time.
    const Shard shard = MakeShard({{"frozen", 99, 8 * kMiB}, {"own", step, 5 * kMiB}});
    auto pushed = PushShard(*client_, kRun, attempt, step, shard);
    ASSERT_TRUE(pushed.ok()) << pushed.status();
    total += pushed->total_bytes;
    sent += pushed->sent_bytes;
    stored += pushed->checkpoint->stored_bytes;
    chunks += step == 1 ? 4 : 2;
    checkpoints.push_back(*pushed->checkpoint);
  }
  EXPECT_EQ(total, 3 * 13 * kMiB);
  EXPECT_EQ(sent, 23 * kMiB);
  const std::vector<std::byte> fetched = FetchShard(*client_, checkpoints[2].id);
  EXPECT_EQ(fetched.size(), 13 * kMiB);
  EXPECT_FALSE(client_->GetCheckpoint(4711).ok());
  ASSERT_TRUE(client_->Prune(kRun, /*dry_run=*/true).ok());

  const Stats stats = *client_->GetStats();
  // The first went with the third's commit; what it alone had comes back.
  ASSERT_TRUE(WaitUntil([&] { return daemon_.Metric("ckptd_reclaimable_bytes") == 0; }));
  const Series after = daemon_.Metrics();
  struct Case {
    const char* series;
    uint64_t more;
  };
  for (const Case& c : {
           Case{"ckptd_pushes_total", 3},
           Case{"ckptd_pushed_bytes_total", total},
           Case{"ckptd_received_bytes_total", sent},
           Case{"ckptd_received_chunks_total", chunks},
           Case{"ckptd_shared_bytes_total", total - sent},
           Case{"ckptd_stored_bytes_total", stored},
           Case{"ckptd_checkpoints_committed_total", 3},
           Case{"ckptd_commit_seconds_count", 3},
           Case{"ckptd_catalog_commit_seconds_count", 3},
           Case{"ckptd_fetches_total", 1},
           Case{"ckptd_sent_bytes_total", 13 * kMiB},
           Case{"ckptd_sent_chunks_total", 4},
           Case{"ckptd_checkpoints_removed_total", 1},
           Case{R"(ckptd_retention_decisions_total{decision="removed",rule="superseded"})", 1},
           Case{R"(ckptd_retention_decisions_total{decision="kept",rule="last"})", 1 + 2 + 2},
           Case{"ckptd_reclaimed_bytes_total", stored - stats.stored_bytes},
           Case{"ckptd_damaged_chunks_total", 0},
           Case{"ckptd_disk_errors_total", 0},
           Case{R"(ckptd_calls_total{method="OpenAttempt",code="OK"})", 1},
           Case{R"(ckptd_calls_total{method="OpenUpload",code="OK"})", 3},
           Case{R"(ckptd_calls_total{method="PushChunks",code="OK"})", 3},
           Case{R"(ckptd_calls_total{method="CommitShard",code="OK"})", 3},
           Case{R"(ckptd_calls_total{method="FetchChunks",code="OK"})", 1},
           Case{R"(ckptd_calls_total{method="Prune",code="OK"})", 1},
           Case{R"(ckptd_call_seconds_count{method="GetCheckpoint"})", 1},
           Case{R"(ckptd_call_seconds_count{method="FetchChunks"})", 1},
           Case{R"(ckptd_calls_total{method="DeleteRun",code="OK"})", 0},
       }) {
    ASSERT_TRUE(after.contains(c.series)) << c.series;
    EXPECT_EQ(after.at(c.series) - before.at(c.series), static_cast<double>(c.more)) << c.series;
  }
  // Of three packs, of the one that had something taken out, and of the journal.
  const char* const syncs = R"(ckptd_sync_seconds_count{what="data"})";
  EXPECT_GT(after.at(syncs) - before.at(syncs), 3 + 1);
  EXPECT_EQ(after.at(R"(ckptd_calls_total{method="GetCheckpoint",code="NOT_FOUND"})"), 1);
  EXPECT_EQ(after.at("ckptd_checkpoints"), 2);
  EXPECT_EQ(after.at("ckptd_checkpoints_bytes"), 2 * 13 * kMiB);
  EXPECT_EQ(after.at("ckptd_chunks"), 6);
  EXPECT_EQ(after.at("ckptd_runs"), 1);
  const std::string packs = daemon_.data_dir() + "/packs";
  EXPECT_EQ(after.at("ckptd_disk_used_bytes"), DiskBytes(packs) - DiskBytes(packs + "/journal"));
  EXPECT_GT(after.at("ckptd_disk_free_bytes"), 0);
  EXPECT_EQ(after.at("ckptd_disk_keep_free_bytes"), 64 * kMiB);
  EXPECT_GT(after.at("ckptd_catalog_bytes"), 0);
  EXPECT_EQ(after.at("ckptd_uploads_open"), 0);
  EXPECT_EQ(after.at("ckptd_ready"), 1);
}

TEST_F(MetricsTest, ShowAnUploadUnderWay) {
  const Shard shard = MakeShard(1, 9 * kMiB);
  const uint64_t attempt = OpenAttempt(*client_, kRun);
  auto opened = client_->OpenUpload(
      {.run = kRun, .attempt = attempt, .step = 1, .manifest = &shard.manifest});
  ASSERT_TRUE(opened.ok()) << opened.status();
  EXPECT_EQ(daemon_.Metric("ckptd_uploads_open"), 1);
  EXPECT_EQ(daemon_.Metric("ckptd_uploads_missing_bytes"), 9 * kMiB);
  ASSERT_TRUE(client_->AbortUpload(opened->upload_id).ok());
  EXPECT_EQ(daemon_.Metric("ckptd_uploads_open"), 0);
  EXPECT_EQ(daemon_.Metric("ckptd_uploads_missing_bytes"), 0);
}

TEST_F(MetricsTest, AreNoMoreForMoreRunsAndNameNone) {
  auto push = [&](const std::string& name) {
    const RunName run{"secret-project", name};
    auto pushed = PushShard(*client_, run, OpenAttempt(*client_, run), 1, MakeShard(1, 100));
    ASSERT_TRUE(pushed.ok()) << pushed.status();
  };
  push("secret-run");
  const size_t series = daemon_.Metrics().size();
  for (int i = 0; i < 20; ++i) push(fmt::format("secret-run-{}", i));
  const std::string text = daemon_.Ask("/metrics").body;
  EXPECT_EQ(ParseMetrics(text).size(), series);
  EXPECT_THAT(text, Not(HasSubstr("secret")));
}

TEST_F(MetricsTest, ShowDamage) {
  auto pushed = PushShard(*client_, kRun, OpenAttempt(*client_, kRun), 1, MakeShard(1, kMiB));
  ASSERT_TRUE(pushed.ok()) << pushed.status();
  for (const auto& file :
       std::filesystem::recursive_directory_iterator(daemon_.data_dir() + "/packs")) {
    if (!file.is_regular_file()) continue;
    const int fd = open(file.path().c_str(), O_WRONLY | O_CLOEXEC);
    EXPECT_EQ(pwrite(fd, "damaged", 7, 100'000), 7);
    close(fd);
  }
  auto verified = client_->Verify(kRun, pushed->checkpoint->id, [](const auto&) {});
  ASSERT_TRUE(verified.ok()) << verified.status();
  EXPECT_EQ(daemon_.Metric("ckptd_damaged_chunks_total"), 1);
  EXPECT_EQ(daemon_.Metric("ckptd_damaged_checkpoints_total"), 1);
}

TEST_F(MetricsTest, AreOffUnlessAskedForAndSayWhyTheyCannotBeServed) {
  struct Case {
    std::vector<std::string> flags;
    const char* says;
  };
  const std::string taken = "127.0.0.1:" + std::to_string(daemon_.metrics_port());
  for (const Case& c : {
           Case{{"--metrics-listen", taken}, "cannot serve metrics on"},
           Case{{"--metrics-listen", "0.0.0.0:0"}, "--allow-remote"},
           Case{{"--metrics-listen", "localhost:nonsense"}, "host:port"},
       }) {
    std::vector<std::string> command = {kCkptd, "--data-dir", dir_ / "other", "--listen",
                                        "127.0.0.1:0"};
    command.insert(command.end(), c.flags.begin(), c.flags.end());
    Process process(command, dir_ / "other.log");
    EXPECT_EQ(process.Wait(), (Ended{.code = 1})) << c.flags[1];
    EXPECT_THAT(process.Output(), HasSubstr(c.says)) << c.flags[1];
  }
  Daemon quiet(kCkptd, dir_ / "quiet");
  ASSERT_TRUE(quiet.Start());
  EXPECT_THAT(quiet.process().Output(), Not(HasSubstr("metrics")));
}

}  // namespace
}  // namespace ckpt::test
