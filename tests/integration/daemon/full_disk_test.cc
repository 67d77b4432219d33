// A disk that is full: said early where it can be foreseen, clearly where it
// cannot, and over as soon as there is room again.
#include <fcntl.h>

#include <gtest/gtest.h>

#include "tests/integration/daemon/harness.h"
#include "tests/integration/daemon/mounts.h"
#include "tests/testing/programs.h"

namespace ckpt::test {
namespace {

const RunName kRun{"default", "full"};

class FullDisk : public testing::Test {
 protected:
  void SetUp() override {
    CKPT_NEEDS_MOUNT(disk_);
    ASSERT_TRUE(daemon_.Start());
    client_ = Connect(daemon_.address());
    attempt_ = OpenAttempt(*client_, kRun);
    auto first = PushShard(*client_, kRun, attempt_, 1, first_);
    ASSERT_TRUE(first.ok()) << first.status();
    kept_ = first->checkpoint->id;
  }
  void ExpectNoSpace(const absl::Status& status) {
    EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << status;
    EXPECT_EQ(ReasonOf(status), reason::kNoSpace) << status;
    EXPECT_TRUE(IsOneSentence(std::string(status.message())));
    EXPECT_EQ(client_->ListCheckpoints(kRun)->size(), 1u);
    EXPECT_EQ(FetchShard(*client_, kept_), first_.bytes);
  }
  // Somebody else's file takes all that is left.
  void FillUp() {
    const int fd = open(filler().c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    const std::string bytes(kMiB, 'x');
    for (size_t size = bytes.size(); size > 0;) {
      if (write(fd, bytes.data(), size) <= 0) size /= 2;
    }
    close(fd);
  }
  std::string filler() const { return disk_.directory() + "/filler"; }

  ckptd::os::TempDir dir_;
  Tmpfs disk_{dir_ / "disk", 96 * kMiB};
  Daemon daemon_{kCkptd, dir_ / "disk/data", {"--keep-free", "1MiB"}};
  std::unique_ptr<Client> client_;
  uint64_t attempt_ = 0;
  const Shard first_ = MakeShard(1, 8 * kMiB);
  uint64_t kept_ = 0;
};

TEST_F(FullDisk, IsForeseenWhenAnUploadIsOpened) {
  const std::string before = Picture(daemon_.address());
  const Shard large = MakeShard(2, 100 * kMiB);
  ExpectNoSpace(PushShard(*client_, kRun, attempt_, 2, large).status());
  EXPECT_EQ(Picture(daemon_.address()), before);
}

TEST_F(FullDisk, CountsWhatOtherUploadsHaveReserved) {
  const Shard one = MakeShard(2, 50 * kMiB), other = MakeShard(3, 50 * kMiB);
  auto opened =
      client_->OpenUpload({.run = kRun, .attempt = attempt_, .step = 2, .manifest = &one.manifest});
  ASSERT_TRUE(opened.ok()) << opened.status();
  ExpectNoSpace(PushShard(*client_, kRun, attempt_, 3, other).status());
  ASSERT_TRUE(client_->AbortUpload(opened->upload_id).ok());
  auto pushed = PushShard(*client_, kRun, attempt_, 3, other);
  EXPECT_TRUE(pushed.ok()) << pushed.status();
}

TEST_F(FullDisk, InMidUploadIsRefusedAndThePushSucceedsOnceThereIsRoom) {
  const Shard shard = MakeShard(2, 48 * kMiB);
  PushRequest request;
  request.offer = {.run = kRun, .attempt = attempt_, .step = 2, .manifest = &shard.manifest};
  bool fill = true;
  request.source = ChunkReader([&](uint32_t index, uint64_t offset, std::span<std::byte> into) {
    if (index == 4 && std::exchange(fill, false)) FillUp();
    std::copy_n(shard.bytes.begin() + static_cast<ptrdiff_t>(offset), into.size(), into.begin());
    return absl::OkStatus();
  });
  ExpectNoSpace(Push(*client_, request).status());
  EXPECT_FALSE(fill);
  // Still full: asked again, it says the same.
  ExpectNoSpace(Push(*client_, request).status());
  // A pack that was given up gives its bytes back, if it was: they are taken as well.
  absl::Status refused;
  EXPECT_TRUE(WaitUntil(
      [&] {
        FillUp();
        refused = client_->OpenAttempt({"default", "another"}, "token").status();
        return !refused.ok();
      },
      std::chrono::seconds(20)));
  ExpectNoSpace(refused);

  ASSERT_EQ(unlink(filler().c_str()), 0);
  auto pushed = Push(*client_, request);
  ASSERT_TRUE(pushed.ok()) << pushed.status() << daemon_.process().Output();
  EXPECT_EQ(FetchShard(*client_, pushed->checkpoint->id), shard.bytes);
  // The pack that was given up takes no space from anybody.
  EXPECT_TRUE(WaitUntil([&] { return DiskBytes(daemon_.data_dir()) < 60 * kMiB; },
                        std::chrono::seconds(20)))
      << DiskBytes(daemon_.data_dir()) << daemon_.process().Output();
}

TEST_F(FullDisk, LetsTheDaemonStopAndStartAndServe) {
  FillUp();
  EXPECT_EQ(daemon_.Stop(), (Ended{.code = 0}));
  ASSERT_TRUE(daemon_.Start());
  EXPECT_EQ(FetchShard(*client_, kept_), first_.bytes);
  ASSERT_EQ(unlink(filler().c_str()), 0);
  auto pushed = PushShard(*client_, kRun, attempt_, 2, MakeShard(5, kMiB));
  EXPECT_TRUE(pushed.ok()) << pushed.status();
}

}  // namespace
}  // namespace ckpt::test
