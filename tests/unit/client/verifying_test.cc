// Client::VerifyAll against a daemon in memory whose streams break.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/client/fake_daemon.h"

namespace ckpt {
namespace {

using ::testing::ElementsAre;

// Checkpoints 5 to 1 of a run, each of 10 bytes in two chunks and with a damage.
class VerifyDaemon final : public FakeDaemon {
 public:
  ~VerifyDaemon() override { Stop(); }

  grpc::Status Verify(grpc::ServerContext*, const v1::VerifyRequest* request,
                      grpc::ServerWriter<v1::VerifyResponse>* writer) override {
    absl::MutexLock lock(&mutex_);
    begun_.push_back(request->after().checkpoint_id());
    v1::VerifyResponse message;
    const uint64_t first = request->has_after() ? request->after().checkpoint_id() - 1 : 5;
    message.set_bytes_total(first * 10);
    for (uint64_t id = first; id >= 1; --id) {
      for (const bool second : {false, true}) {
        if (!breaks_after_.empty() && breaks_after_.front()-- == 0) {
          breaks_after_.erase(breaks_after_.begin());
          return {grpc::StatusCode::UNAVAILABLE, "the line broke"};
        }
        message.set_bytes_done(message.bytes_done() + 5);
        message.set_chunks_done(message.chunks_done() + 1);
        message.clear_damages();
        message.clear_position();
        if (!second) message.add_damages()->set_checkpoint_id(id);
        if (second) {
          message.mutable_position()->mutable_run()->set_run("r");
          message.mutable_position()->set_checkpoint_id(id);
        }
        writer->Write(message);
      }
    }
    message.clear_damages();
    message.clear_position();
    message.set_done(true);
    writer->Write(message);
    return grpc::Status::OK;
  }

  // The streams break after so many messages each.
  void BreakAfter(std::vector<int> messages) {
    absl::MutexLock lock(&mutex_);
    breaks_after_ = std::move(messages);
  }
  // Behind which checkpoint the streams began; 0: from the beginning.
  std::vector<uint64_t> begun() const {
    absl::MutexLock lock(&mutex_);
    return begun_;
  }

 private:
  mutable absl::Mutex mutex_;
  std::vector<int> breaks_after_ ABSL_GUARDED_BY(mutex_);
  std::vector<uint64_t> begun_ ABSL_GUARDED_BY(mutex_);
};

class ClientVerify : public testing::Test {
 protected:
  static std::vector<uint64_t> Ids(const std::vector<Damage>& damages) {
    std::vector<uint64_t> ids;
    for (const Damage& damage : damages) ids.push_back(damage.checkpoint_id);
    return ids;
  }

  VerifyDaemon daemon_;
};

TEST_F(ClientVerify, GoesOnBehindWhatWasReadAndCountsNothingTwice) {
  daemon_.BreakAfter({5, 2, 0, 1});
  uint64_t total = 0;
  const auto result = daemon_.Connect()->VerifyAll(
      "", [&](const VerifyProgress& progress) { total = progress.bytes_total; });
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_THAT(daemon_.begun(), ElementsAre(0, 4, 3, 3, 3));
  EXPECT_EQ(result->bytes, 50u);
  EXPECT_EQ(result->chunks, 10u);
  EXPECT_EQ(total, 50u);
  EXPECT_THAT(Ids(result->damages), ElementsAre(5, 4, 3, 2, 1));
}

TEST_F(ClientVerify, EndsWhereTheWindowPassesWithNoCheckpointRead) {
  daemon_.BreakAfter({1, 1, 1});
  ClientOptions options = daemon_.options();
  options.retry.window = absl::ZeroDuration();
  const auto result = (*Client::Connect(options))->VerifyAll("", nullptr);
  EXPECT_TRUE(absl::IsUnavailable(result.status())) << result.status();
  EXPECT_THAT(daemon_.begun(), ElementsAre(0));
}

}  // namespace
}  // namespace ckpt
