// Push and Fetch against a daemon in memory.
#include <cstdio>
#include <cstring>
#include <fstream>
#include <random>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "client/download.h"
#include "client/staging.h"
#include "client/upload.h"
#include "proto/limits.h"
#include "tests/unit/client/fake_daemon.h"

namespace ckpt {
namespace {

using ::testing::ElementsAre;

// A shard of two small entries and a large one of several chunks.
class TransferTest : public ::testing::Test {
 protected:
  TransferTest() {
    CheckOk(staging_.Prepare({{.name = "a", .length = 100},
                              {.name = "big", .length = 3 * kMaxChunkBytes + 1000},
                              {.name = "b", .length = 50}}));
    std::mt19937 random(7);
    for (size_t i = 0; i < 3; ++i) {
      for (std::byte& byte : staging_.entry(i)) byte = static_cast<std::byte>(random());
    }
    manifest_ = &staging_.Hash(2);
  }
  static void CheckOk(const absl::Status& status) { ASSERT_TRUE(status.ok()) << status; }

  PushRequest Request(uint64_t step = 1) {
    return {.offer = {.run = {"", "run"}, .attempt = 1, .step = step, .manifest = manifest_},
            .source = staging_.bytes()};
  }
  // The stream of checkpoint `id` as it is fetched.
  std::string FetchAll(Client& client, uint64_t id) {
    std::string bytes;
    const absl::Status status =
        Fetch(client, {.checkpoint_id = id, .manifest = manifest_, .chunks = AllChunks(*manifest_)},
              [&](uint32_t, ChunkParts parts) {
                for (const auto& part : parts) {
                  bytes.append(reinterpret_cast<const char*>(part.data()), part.size());
                }
                return absl::OkStatus();
              });
    EXPECT_TRUE(status.ok()) << status;
    return bytes;
  }
  std::string Staged() const {
    return {reinterpret_cast<const char*>(staging_.bytes().data()), staging_.bytes().size()};
  }

  FakeDaemon daemon_;
  Staging staging_;
  const Manifest* manifest_;
};

TEST_F(TransferTest, PushesOnlyWhatIsMissing) {
  const auto client = daemon_.Connect();
  const auto first = Push(*client, Request(1));
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_EQ(first->sent_bytes, staging_.bytes().size());
  ASSERT_TRUE(first->checkpoint.has_value());
  EXPECT_EQ(first->checkpoint->step, 1u);

  staging_.entry(1)[kMaxChunkBytes] ^= std::byte{1};  // the second chunk of `big`
  manifest_ = &staging_.Hash();
  const auto second = Push(*client, Request(2));
  ASSERT_TRUE(second.ok()) << second.status();
  EXPECT_EQ(second->sent_bytes, kMaxChunkBytes);
  EXPECT_EQ(FetchAll(*client, 2), Staged());
}

TEST_F(TransferTest, ARepeatedPushSendsNothing) {
  const auto client = daemon_.Connect();
  ASSERT_TRUE(Push(*client, Request()).ok());
  const auto again = Push(*client, Request());
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(again->sent_bytes, 0u);
  EXPECT_EQ(again->checkpoint->id, 1u);
}

TEST_F(TransferTest, GoesOnWhereTheLineBroke) {
  for (int frames = 0; frames < 5; ++frames) {
    FakeDaemon daemon;
    daemon.break_push_after = frames;
    const auto client = daemon.Connect();
    const auto pushed = Push(*client, Request());
    ASSERT_TRUE(pushed.ok()) << frames << ": " << pushed.status();
    // None of what had arrived was sent again.
    EXPECT_EQ(daemon.chunks_received(), manifest_->chunks.size()) << frames;
    EXPECT_EQ(FetchAll(*client, 1), Staged()) << frames;
  }
}

TEST_F(TransferTest, RidesOutARestartOfTheDaemon) {
  const auto client = daemon_.Connect();
  daemon_.set_gate(false);
  std::thread restart([&] {
    while (daemon_.chunks_received() < manifest_->chunks.size()) std::this_thread::yield();
    daemon_.Stop();  // in mid-commit
    daemon_.set_gate(true);
    daemon_.Start();
  });
  const auto pushed = Push(*client, Request());
  restart.join();
  ASSERT_TRUE(pushed.ok()) << pushed.status();
  EXPECT_THAT(daemon_.committed_steps(), ElementsAre(1u));
}

TEST_F(TransferTest, GivesUpWhenTheWindowEnds) {
  ClientOptions options = daemon_.options();
  options.retry.window = absl::Milliseconds(50);
  const auto client = *Client::Connect(options);
  daemon_.Stop();
  const auto status = Push(*client, Request()).status();
  EXPECT_TRUE(HasReason(status, reason::kUnreachable)) << status;
}

TEST_F(TransferTest, DoesNotRepeatWhatTheDaemonRefuses) {
  daemon_.set_commit_error(
      MakeError(absl::StatusCode::kFailedPrecondition, reason::kAttemptFenced, "fenced"));
  const auto status = Push(*daemon_.Connect(), Request()).status();
  EXPECT_TRUE(HasReason(status, reason::kAttemptFenced)) << status;
}

// The line breaks before anything has arrived, then after a stream longer than the
// window: what that one brought is known only to the daemon.
TEST_F(TransferTest, ALongStreamThatBreaksIsNotTheEndOfTheWindow) {
  ClientOptions options = daemon_.options();
  options.retry.window = absl::Minutes(5);
  absl::Time now = absl::UnixEpoch();
  bool long_stream = false;
  options.world.now = [&] { return now; };
  options.world.sleep = [&](absl::Duration, const Cancel*) {
    if (now > absl::UnixEpoch()) return;
    daemon_.break_push_after = 2;
    long_stream = true;
  };
  const auto client = *Client::Connect(options);
  daemon_.break_push_after = 0;
  PushRequest request = Request();
  request.source = ChunkReader([&](uint32_t, uint64_t offset, std::span<std::byte> into) {
    if (std::exchange(long_stream, false)) now += absl::Minutes(10);
    std::memcpy(into.data(), staging_.bytes().data() + offset, into.size());
    return absl::OkStatus();
  });
  const auto status = Push(*client, request).status();
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_EQ(now, absl::UnixEpoch() + absl::Minutes(10));
}

// As the README says to replace one: the new token into the file, then the old revoked.
TEST_F(TransferTest, GoesOnWithTheTokenThatReplacedARefusedOne) {
  const std::string path = ::testing::TempDir() + "/transfer_test.token";
  const auto write = [&](char c) {
    const std::string fresh = path + ".new";
    std::ofstream(fresh) << "ckpt_" << std::string(16, c) << "_" << std::string(64, '0') << "\n";
    ASSERT_EQ(std::rename(fresh.c_str(), path.c_str()), 0);
  };
  write('a');
  ClientOptions options = daemon_.options();
  options.credentials.token_file = path;
  options.world.sleep = [&](absl::Duration, const Cancel*) {
    daemon_.set_commit_error(absl::OkStatus());
  };
  const auto client = *Client::Connect(options);
  daemon_.set_commit_error(
      MakeError(absl::StatusCode::kUnauthenticated, reason::kTokenInvalid, "it was revoked"));
  EXPECT_TRUE(HasReason(Push(*client, Request(1)).status(), reason::kTokenInvalid));

  const auto status = Push(*client, Request(2), [&](const Progress&) { write('b'); }).status();
  EXPECT_TRUE(status.ok()) << status;
  std::remove(path.c_str());
}

TEST_F(TransferTest, OffersAgainWhatTheDaemonCouldNotMakeDurable) {
  daemon_.set_commit_error(
      MakeError(absl::StatusCode::kInternal, reason::kUploadFailed, "fsync failed"));
  int opened = 0;
  const auto status = Push(*daemon_.Connect(), Request(), [&](const Progress&) {
                        if (++opened > 6) daemon_.set_commit_error(absl::OkStatus());
                      }).status();
  EXPECT_TRUE(status.ok()) << status;
}

TEST_F(TransferTest, AReaderIsAskedForMissingChunksOnly) {
  const auto client = daemon_.Connect();
  ASSERT_TRUE(Push(*client, Request(1)).ok());
  staging_.entry(1)[0] ^= std::byte{1};
  manifest_ = &staging_.Hash();
  std::vector<uint32_t> asked;
  PushRequest request = Request(2);
  request.source = [&](uint32_t index, uint64_t offset, std::span<std::byte> into) {
    asked.push_back(index);
    std::memcpy(into.data(), staging_.bytes().data() + offset, into.size());
    return absl::OkStatus();
  };
  ASSERT_TRUE(Push(*client, request).ok());
  EXPECT_THAT(asked, ElementsAre(1u));
  EXPECT_EQ(FetchAll(*client, 2), Staged());
}

TEST_F(TransferTest, AReadersErrorEndsThePush) {
  PushRequest request = Request();
  request.source = [](uint32_t, uint64_t, std::span<std::byte>) {
    return absl::UnavailableError("the file is gone");
  };
  EXPECT_EQ(Push(*daemon_.Connect(), request).status(), absl::UnavailableError("the file is gone"));
}

TEST_F(TransferTest, ACancelledPushEnds) {
  daemon_.set_gate(false);
  Cancel cancel;
  std::thread canceller([&] {
    while (daemon_.chunks_received() < manifest_->chunks.size()) std::this_thread::yield();
    cancel.Request();
  });
  EXPECT_EQ(Push(*daemon_.Connect(), Request(), nullptr, &cancel).status().code(),
            absl::StatusCode::kCancelled);
  canceller.join();
}

TEST_F(TransferTest, FetchGoesOnWhereTheLineBroke) {
  const auto client = daemon_.Connect();
  ASSERT_TRUE(Push(*client, Request()).ok());
  daemon_.break_fetch_after = 2;
  EXPECT_EQ(FetchAll(*client, 1), Staged());
  ASSERT_EQ(daemon_.fetches().size(), 2u);
  EXPECT_EQ(daemon_.fetches()[1].chunks(0), 2u);
}

TEST_F(TransferTest, BytesHurtOnTheWayAreAskedForAgainOnce) {
  const auto client = daemon_.Connect();
  ASSERT_TRUE(Push(*client, Request()).ok());
  daemon_.fetch_damaged = 1;
  EXPECT_EQ(FetchAll(*client, 1), Staged());
  // The first time the digests are the client's to compare; then the daemon is
  // asked, which alone can tell what is stored from what came.
  ASSERT_EQ(daemon_.fetches().size(), 2u);
  EXPECT_TRUE(daemon_.fetches()[0].client_compares());
  EXPECT_FALSE(daemon_.fetches()[1].client_compares());
}

TEST_F(TransferTest, DamagedBytesNeverReachTheSink) {
  const auto client = daemon_.Connect();
  ASSERT_TRUE(Push(*client, Request()).ok());
  daemon_.fetch_damaged = 1000;
  int sunk = 0;
  const absl::Status status =
      Fetch(*client, {.checkpoint_id = 1, .manifest = manifest_, .chunks = AllChunks(*manifest_)},
            [&](uint32_t, ChunkParts) {
              ++sunk;
              return absl::OkStatus();
            });
  EXPECT_TRUE(HasReason(status, reason::kChunkDamaged)) << status;
  EXPECT_EQ(sunk, 0);
}

TEST_F(TransferTest, ASinksErrorEndsTheFetchAndIsNotTriedAgain) {
  const auto client = daemon_.Connect();
  ASSERT_TRUE(Push(*client, Request()).ok());
  const absl::Status status =
      Fetch(*client, {.checkpoint_id = 1, .manifest = manifest_, .chunks = AllChunks(*manifest_)},
            [&](uint32_t, ChunkParts) { return absl::UnavailableError("full"); });
  EXPECT_EQ(status, absl::UnavailableError("full"));
  EXPECT_EQ(daemon_.fetches().size(), 1u);
}

TEST_F(TransferTest, FetchIntoCopiesRangesOfEntriesAndOnlyTheirChunks) {
  const auto client = daemon_.Connect();
  ASSERT_TRUE(Push(*client, Request()).ok());
  std::string b(50, ' '), across(2000, ' '), again(10, ' ');
  const auto to = [](std::string& text) { return reinterpret_cast<std::byte*>(text.data()); };
  const absl::Status status = FetchInto(
      *client, 1, 0, *manifest_,
      {{.entry = "b", .data = to(b)},
       {.entry = "big", .offset = kMaxChunkBytes - 1000, .length = 2000, .data = to(across)},
       {.entry = "big", .offset = kMaxChunkBytes - 1000, .length = 10, .data = to(again)},
       {.entry = "a", .offset = 100, .data = nullptr}});
  ASSERT_TRUE(status.ok()) << status;
  const auto same = [this](const std::string& got, size_t entry, size_t offset) {
    return std::memcmp(got.data(), staging_.entry(entry).data() + offset, got.size()) == 0;
  };
  EXPECT_TRUE(same(b, 2, 0));
  EXPECT_TRUE(same(across, 1, kMaxChunkBytes - 1000));
  EXPECT_TRUE(same(again, 1, kMaxChunkBytes - 1000));
  EXPECT_THAT(daemon_.fetches().back().chunks(), ElementsAre(1u, 2u, manifest_->chunks.size() - 1));
}

TEST_F(TransferTest, SeveralStreamsFetchWhatOneDoes) {
  ASSERT_TRUE(Push(*daemon_.Connect(), Request()).ok());
  const size_t chunks = manifest_->chunks.size();
  for (const size_t streams : {size_t{1}, size_t{2}, size_t{3}, chunks, chunks + 3}) {
    SCOPED_TRACE(streams);
    const size_t before = daemon_.fetches().size();
    ClientOptions options = daemon_.options();
    options.fetch_streams = streams;
    const auto client = *Client::Connect(options);
    std::string a(100, ' '), big(3 * kMaxChunkBytes + 1000, ' '), b(50, ' ');
    const auto to = [](std::string& text) { return reinterpret_cast<std::byte*>(text.data()); };
    Progress last;
    const absl::Status status = FetchInto(*client, 1, 0, *manifest_,
                                          {{.entry = "big", .data = to(big)},
                                           {.entry = "a", .data = to(a)},
                                           {.entry = "b", .data = to(b)}},
                                          [&](const Progress& progress) {
                                            EXPECT_GT(progress.done_bytes, last.done_bytes);
                                            last = progress;
                                          });
    ASSERT_TRUE(status.ok()) << status;
    size_t entry = 0;
    for (const std::string* got : {&a, &big, &b}) {
      EXPECT_EQ(std::memcmp(got->data(), staging_.entry(entry).data(), got->size()), 0) << entry;
      ++entry;
    }
    EXPECT_EQ(last.done_bytes, manifest_->bytes());
    EXPECT_EQ(last.total_bytes, manifest_->bytes());
    EXPECT_EQ(daemon_.fetches().size() - before, std::min(streams, chunks));
  }
}

TEST_F(TransferTest, WhenOneStreamFailsAllEndWithItsError) {
  ASSERT_TRUE(Push(*daemon_.Connect(), Request()).ok());
  daemon_.fetch_damaged = 1000;
  ClientOptions options = daemon_.options();
  options.fetch_streams = 3;
  std::string big(3 * kMaxChunkBytes + 1000, ' ');
  const absl::Status status =
      FetchInto(**Client::Connect(options), 1, 0, *manifest_,
                {{.entry = "big", .data = reinterpret_cast<std::byte*>(big.data())}});
  EXPECT_TRUE(HasReason(status, reason::kChunkDamaged)) << status;
  EXPECT_EQ(big, std::string(big.size(), ' ')) << "bytes that are not the checkpoint's";
}

TEST_F(TransferTest, FetchIntoRefusesWhatIsNotThere) {
  const auto client = daemon_.Connect();
  ASSERT_TRUE(Push(*client, Request()).ok());
  std::byte memory[200];
  EXPECT_TRUE(HasReason(FetchInto(*client, 1, 0, *manifest_, {{.entry = "x", .data = memory}}),
                        reason::kEntryNotFound));
  EXPECT_EQ(FetchInto(*client, 1, 0, *manifest_,
                      {{.entry = "a", .offset = 90, .length = 11, .data = memory}})
                .code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(
      FetchInto(*client, 1, 0, *manifest_, {{.entry = "a", .offset = 101, .data = memory}}).code(),
      absl::StatusCode::kInvalidArgument);
  const auto a = FetchEntries(*client, 1, 0, *manifest_, {"b", "a"});
  ASSERT_TRUE(a.ok()) << a.status();
  EXPECT_EQ((*a)[1].size(), 100u);
  EXPECT_EQ(ChunksOfEntries(*manifest_, {"a", "big"})->size(), manifest_->chunks.size() - 1);
}

TEST(BoxRanges, Table) {
  using Shape = std::vector<int64_t>;
  struct {
    Shape whole, begin, shape;
    std::vector<ByteRange> ranges;
  } const kCases[] = {
      {{}, {}, {}, {{0, 4}}},
      {{5}, {0}, {5}, {{0, 20}}},
      {{5}, {2}, {2}, {{8, 8}}},
      {{4, 3}, {0, 0}, {4, 3}, {{0, 48}}},
      {{4, 3}, {1, 0}, {2, 3}, {{12, 24}}},
      {{4, 3}, {1, 1}, {2, 2}, {{16, 8}, {28, 8}}},
      {{2, 3, 4}, {0, 1, 0}, {2, 1, 4}, {{16, 16}, {64, 16}}},
      {{2, 2, 2}, {0, 0, 1}, {2, 2, 1}, {{4, 4}, {12, 4}, {20, 4}, {28, 4}}},
      {{4, 3}, {1, 1}, {0, 2}, {}},
      {{0, 3}, {0, 0}, {0, 3}, {}},
  };
  for (const auto& c : kCases) {
    const auto ranges = BoxRanges(c.whole, c.begin, c.shape, 4);
    ASSERT_TRUE(ranges.ok()) << ::testing::PrintToString(c.shape);
    EXPECT_EQ(*ranges, c.ranges) << ::testing::PrintToString(c.whole)
                                 << ::testing::PrintToString(c.shape);
  }
  const Shape whole{4, 3};
  for (const auto& [begin, shape] : std::vector<std::pair<Shape, Shape>>{
           {{0, 0}, {5, 3}}, {{3, 0}, {2, 3}}, {{-1, 0}, {1, 3}}, {{0}, {4}}, {{0, 0}, {1, -1}}}) {
    EXPECT_FALSE(BoxRanges(whole, begin, shape, 4).ok());
  }
}

}  // namespace
}  // namespace ckpt
