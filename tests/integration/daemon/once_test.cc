// Calls that are made again because their answer was lost: the daemon is killed
// between the tries, and the second is told what the first was.
#include <thread>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "proto/channel.h"
#include "tests/integration/daemon/wire.h"
#include "tests/testing/programs.h"

namespace ckpt::test {
namespace {

class Repeated : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(daemon_.Start());
    client_ = Connect(daemon_.address());
    channel_ = RawChannel(daemon_.address());
  }
  void KillAndStart() {
    daemon_.Stop(SIGKILL);
    ASSERT_TRUE(daemon_.Start());
  }
  // A run that keeps all: step 5 removed, 10 pinned `p` and aliased `a`, 20, 30
  // and, of attempt 2, an upload under way and a resume.
  std::map<std::string, std::string> MakeRun(const std::string& project) {
    const RunName run{project, "r"};
    Policy policy;
    policy.restore_grace = absl::Hours(1);
    std::map<std::string, std::string> words = {
        {"run", fmt::format("run {{ project: '{}' run: 'r' }}", project)}, {"project", project}};
    const uint64_t attempt = OpenAttempt(*client_, run, 1, policy);
    for (const uint64_t step : {5, 10, 20, 30}) {
      const auto pushed = PushShard(*client_, run, attempt, step, MakeShard(step, 5000));
      EXPECT_TRUE(pushed.ok()) << pushed.status();
      if (pushed.ok()) words[fmt::format("at{}", step)] = std::to_string(pushed->checkpoint->id);
    }
    const uint64_t ten = std::stoull(words["at10"]);
    EXPECT_EQ(client_->DeleteCheckpoints(run, {std::stoull(words["at5"])}).status(),
              absl::OkStatus());
    EXPECT_EQ(client_->Pin(run, ten, "p").status(), absl::OkStatus());
    EXPECT_EQ(client_->SetAlias(run, "a", ten).status(), absl::OkStatus());
    const uint64_t next = OpenAttempt(*client_, run);
    const auto resumed = client_->Resume({.run = run, .attempt = next});
    EXPECT_TRUE(resumed.ok()) << resumed.status();
    words["ticket"] = resumed.ok() ? resumed->ticket_id : "";
    const Shard shard = MakeShard(40, 5000);
    const auto upload =
        client_->OpenUpload({.run = run, .attempt = next, .step = 40, .manifest = &shard.manifest});
    EXPECT_TRUE(upload.ok()) << upload.status();
    words["upload"] = upload.ok() ? upload->upload_id : "";
    const auto in_force = client_->GetPolicy(run);
    EXPECT_TRUE(in_force.ok()) << in_force.status();
    words["version"] = std::to_string(in_force.ok() ? in_force->policy.version : 0);
    return words;
  }
  Reply Call(const std::string& method, const std::string& request,
             const std::map<std::string, std::string>& words, const Metadata& metadata) {
    return CallRaw(channel_, FullName(method), {Encode(method, request, words)}, metadata);
  }
  // Once the janitor has come to rest.
  std::string Settled() {
    std::string picture = Picture(daemon_.address()), before;
    WaitUntil([&] {
      absl::SleepFor(absl::Milliseconds(50));
      before = std::exchange(picture, Picture(daemon_.address()));
      return before == picture;
    });
    return picture;
  }
  static Metadata Id(const std::string& id) { return {{kRequestIdHeader, id}}; }

  ckptd::os::TempDir dir_;
  Daemon daemon_{kCkptd, dir_ / "data"};
  std::unique_ptr<Client> client_;
  std::shared_ptr<grpc::Channel> channel_;
};

TEST_F(Repeated, EveryCallThatChangesSomethingAnswersAsTheFirstTime) {
  struct Row {
    const char* method;
    const char* request;
  };
  const std::vector<Row> rows = {
      {"OpenAttempt",
       "run { project: '$project' run: 'new' } launch_id: 'l' world_size: 2 "
       "initial_policy { keep_last: 2 }"},
      {"AbortUpload", "upload_id: '$upload'"},
      {"AttachMetrics", "$run checkpoint_id: $at10 metrics { name: 'm' value: 2 }"},
      {"ReportLoad", "ticket_id: '$ticket' ok: true"},
      {"SetPolicy", "$run policy { keep_last: 1 } if_version: $version"},
      {"Prune", "$run"},
      {"Prune", "project: '$project'"},
      {"DeleteCheckpoints", "$run checkpoint_ids: $at20"},
      {"DeleteRun", "$run"},
      {"RestoreCheckpoint", "$run checkpoint_id: $at5"},
      {"Pin", "$run checkpoint_id: $at20 name: 'q'"},
      {"Unpin", "$run checkpoint_id: $at10 name: 'p'"},
      {"SetAlias", "$run checkpoint_id: $at20 alias: 'a'"},
      {"DeleteAlias", "$run alias: 'a'"},
      {"Rewind", "$run checkpoint_id: $at10"},
  };
  for (size_t i = 0; i < rows.size(); ++i) {
    const Row& row = rows[i];
    SCOPED_TRACE(std::string(row.method) + " " + row.request);
    const auto words = MakeRun(fmt::format("project-{}", i));
    const Metadata id = Id(fmt::format("call {}", i));
    const Reply first = Call(row.method, row.request, words, id);
    ASSERT_EQ(first.status, absl::OkStatus());
    KillAndStart();
    // What happens meanwhile is no part of the answer.
    OpenAttempt(*client_, {words.at("project"), "meanwhile"});
    const std::string before = Settled();
    const Reply second = Call(row.method, row.request, words, id);
    EXPECT_EQ(second.status, absl::OkStatus());
    EXPECT_EQ(second.messages, first.messages);
    EXPECT_EQ(Settled(), before) << "the second try had an effect";

    const Reply other_request =
        Call("OpenAttempt", "run { run: 'x' } launch_id: 'x' world_size: 1", {}, id);
    EXPECT_EQ(other_request.status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(ReasonOf(other_request.status), reason::kRequestIdReused);
    EXPECT_TRUE(IsOneSentence(std::string(other_request.status.message())));
    EXPECT_EQ(Picture(daemon_.address()), before);
  }
}

TEST_F(Repeated, TriesAtTheSameTimeAreOneCall) {
  const auto words = MakeRun("p");
  std::vector<Reply> replies(8);
  std::vector<std::thread> threads;
  for (Reply& reply : replies) {
    threads.emplace_back(
        [&] { reply = Call("Rewind", "$run checkpoint_id: $at10", words, Id("id")); });
  }
  for (std::thread& thread : threads) thread.join();
  for (const Reply& reply : replies) {
    EXPECT_EQ(reply.status, absl::OkStatus());
    EXPECT_EQ(reply.messages, replies[0].messages);
  }
  const auto run = client_->GetRun({"p", "r"});
  ASSERT_TRUE(run.ok()) << run.status();
  EXPECT_EQ(run->timelines.size(), 2u);
}

TEST_F(Repeated, ADryRunIsNotTheCall) {
  const auto words = MakeRun("p");
  const auto remove = [&](bool dry_run) {
    return Call("DeleteCheckpoints",
                "$run checkpoint_ids: $at20" + std::string(dry_run ? " dry_run: true" : ""), words,
                Id("id"));
  };
  EXPECT_EQ(remove(true).status, absl::OkStatus());
  EXPECT_EQ(remove(false).status, absl::OkStatus());
  EXPECT_EQ(remove(false).status, absl::OkStatus());
  const auto removed = client_->GetCheckpoint(std::stoull(words.at("at20")));
  ASSERT_TRUE(removed.ok()) << removed.status();
  EXPECT_TRUE(removed->checkpoint.removed_at);
}

TEST_F(Repeated, AnIdThatIsNoneIsRefused) {
  const auto words = MakeRun("p");
  const std::string before = Settled();
  for (const Metadata& metadata : std::vector<Metadata>{
           Id(""),
           Id(std::string(129, 'a')),
           {{kRequestIdHeader, "a"}, {kRequestIdHeader, "b"}},
       }) {
    const Reply reply = Call("Pin", "$run checkpoint_id: $at20 name: 'q'", words, metadata);
    EXPECT_EQ(reply.status.code(), absl::StatusCode::kInvalidArgument) << metadata[0].second;
    EXPECT_EQ(ReasonOf(reply.status), reason::kBadField) << metadata[0].second;
    EXPECT_TRUE(IsOneSentence(std::string(reply.status.message())));
  }
  EXPECT_EQ(Picture(daemon_.address()), before);
  EXPECT_EQ(
      Call("Pin", "$run checkpoint_id: $at20 name: 'q'", words, Id(std::string(128, '~'))).status,
      absl::OkStatus());
}

}  // namespace
}  // namespace ckpt::test
