// Client::BackUpCatalog against a daemon in memory whose streams break and lie.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "proto/digest.h"
#include "tests/unit/client/fake_daemon.h"

namespace ckpt {
namespace {

using ::testing::HasSubstr;

class BackupDaemon final : public FakeDaemon {
 public:
  // A call that the client gave up may still be answered.
  ~BackupDaemon() override { Stop(); }

  grpc::Status BackUpCatalog(grpc::ServerContext*, const v1::BackUpCatalogRequest*,
                             grpc::ServerWriter<v1::BackUpCatalogResponse>* writer) override {
    ++calls;
    std::string whole;
    for (const std::string& part : parts) {
      if (break_after == 0) {
        break_after = -1;
        return {grpc::StatusCode::UNAVAILABLE, "the line broke"};
      }
      if (break_after > 0) --break_after;
      v1::BackUpCatalogResponse message;
      message.set_data(part);
      writer->Write(message);
      whole += part;
    }
    if (no_end-- > 0) return grpc::Status::OK;
    CatalogBackup backup{.transaction = 7, .taken_at = absl::FromUnixSeconds(5)};
    backup.bytes = whole.size();
    backup.digest = HashBytes(whole + lie);
    v1::BackUpCatalogResponse message;
    *message.mutable_backup() = ToProto(backup);
    writer->Write(message);
    return grpc::Status::OK;
  }

  std::vector<std::string> parts = {std::string(5000, 'a'), std::string(1000, 'b'), "c"};
  std::string lie;  // the digest is of something else
  // Each stream is another thread's.
  std::atomic<int> break_after = -1;  // messages; once
  std::atomic<int> no_end = 0;        // so many streams end before they are whole
  std::atomic<int> calls = 0;
};

class ClientBackup : public testing::Test {
 protected:
  absl::StatusOr<CatalogBackup> BackUp(Cancel* cancel = nullptr) {
    return daemon_.Connect()->BackUpCatalog(
        [&](uint64_t offset, std::span<const std::byte> bytes) -> absl::Status {
          if (!sink_status_.ok()) return sink_status_;
          EXPECT_LE(offset, file_.size());
          file_.resize(offset);
          file_.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
          return absl::OkStatus();
        },
        cancel);
  }

  BackupDaemon daemon_;
  std::string file_;
  absl::Status sink_status_;
};

TEST_F(ClientBackup, GivesAllBytesInOrderAndSaysWhatTheyAre) {
  const auto backup = BackUp();
  ASSERT_TRUE(backup.ok()) << backup.status();
  EXPECT_EQ(file_, std::string(5000, 'a') + std::string(1000, 'b') + "c");
  EXPECT_EQ(backup->transaction, 7u);
  EXPECT_EQ(backup->taken_at, absl::FromUnixSeconds(5));
  EXPECT_EQ(backup->bytes, 6001u);
  EXPECT_EQ(backup->digest, HashBytes(file_));
}

TEST_F(ClientBackup, BeginsAnewWhereTheStreamBreaksOrEndsTooSoon) {
  daemon_.break_after = 2;
  daemon_.no_end = 1;
  const auto backup = BackUp();
  ASSERT_TRUE(backup.ok()) << backup.status();
  EXPECT_EQ(file_.size(), 6001u);
  EXPECT_EQ(daemon_.calls, 3);
}

TEST_F(ClientBackup, IsNoneWhereItsBytesAreOthersThanWereSent) {
  daemon_.lie = "x";
  const absl::Status status = BackUp().status();
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_TRUE(HasReason(status, reason::kDigestMismatch)) << status;
  EXPECT_EQ(daemon_.calls, 1);
}

TEST_F(ClientBackup, EndsWithTheFailureOfItsSink) {
  sink_status_ = MakeError(absl::StatusCode::kResourceExhausted, reason::kNoSpace, "full");
  EXPECT_TRUE(HasReason(BackUp().status(), reason::kNoSpace));
  EXPECT_EQ(daemon_.calls, 1);
}

TEST_F(ClientBackup, EndsWhenItIsCancelled) {
  Cancel cancel;
  cancel.Request();
  EXPECT_TRUE(absl::IsCancelled(BackUp(&cancel).status()));
}

TEST_F(ClientBackup, SaysThatNobodyAnswers) {
  ClientOptions options{.address = "127.0.0.1:1"};
  options.retry.window = absl::ZeroDuration();
  const absl::Status status =
      (*Client::Connect(options))
          ->BackUpCatalog([](uint64_t, std::span<const std::byte>) { return absl::OkStatus(); })
          .status();
  EXPECT_TRUE(HasReason(status, reason::kUnreachable)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("is it running?"));
}

}  // namespace
}  // namespace ckpt
