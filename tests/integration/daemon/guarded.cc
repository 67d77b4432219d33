#include "tests/integration/daemon/guarded.h"
#include "tests/testing/programs.h"

#include <fmt/format.h>

#include "proto/channel.h"

namespace ckpt::test {
namespace {

std::vector<std::string> WithTokens(std::vector<std::string> flags) {
  flags.insert(flags.end(), {"--auth", "tokens"});
  return flags;
}

void Fill(Place& place, const std::string& project, Client& client) {
  place.project = project;
  const RunName run{project, "r"};
  place.attempt = OpenAttempt(client, run);
  auto pushed = PushShard(client, run, place.attempt, 10, MakeShard({{"w", 7, 5000}}));
  ASSERT_TRUE(pushed.ok()) << pushed.status();
  place.checkpoint = pushed->checkpoint->id;
  place.attempt = OpenAttempt(client, run);
  auto resumed = client.Resume({.run = run, .attempt = place.attempt});
  ASSERT_TRUE(resumed.ok()) << resumed.status();
  place.ticket = resumed->ticket_id;
  place.pending = MakeShard({{"w", 8 + project.size(), 6000}});
  auto upload = client.OpenUpload(
      {.run = run, .attempt = place.attempt, .step = 20, .manifest = &place.pending.manifest});
  ASSERT_TRUE(upload.ok()) << upload.status();
  place.upload = upload->upload_id;
  place.words = {{"run", fmt::format("run {{ project: '{}' run: 'r' }}", project)},
                 {"project", fmt::format("project: '{}'", project)},
                 {"attempt", std::to_string(place.attempt)},
                 {"checkpoint", std::to_string(place.checkpoint)},
                 {"upload", place.upload},
                 {"ticket", place.ticket},
                 {"token", place.token_id}};
}

}  // namespace

Guarded::Guarded(std::vector<std::string> flags, TlsOptions tls)
    : tls_(std::move(tls)), daemon_(kCkptd, dir_ / "data", WithTokens(std::move(flags))) {}

void Guarded::SetUp() {
  const std::string file = dir_ / "admin";
  Process maker({kCkptd, "--data-dir", daemon_.data_dir(), "--create-admin-token", file},
                dir_ / "maker.log");
  ASSERT_EQ(maker.Wait(), (Ended{.code = 0})) << maker.Output();
  std::string text = ReadFile(file);
  ASSERT_TRUE(text.ends_with("\n")) << text;
  text.pop_back();
  tokens_["all/admin"] = text;
  ASSERT_TRUE(daemon_.Start());
  const auto credentials =
      ResolveCredentials({.tls = tls_}, daemon_.address(), ProcessEnvironment());
  ASSERT_TRUE(credentials.ok()) << credentials.status();
  channel_ = RawChannel(daemon_.address(), credentials->channel);
  admin_ = ConnectAs("all/admin");
  for (const char* project : {"alice", "bob", ""}) {
    for (const Role role : {Role::kRead, Role::kWrite, Role::kAdmin}) {
      const std::string whose =
          fmt::format("{}/{}", *project == '\0' ? "all" : project, RoleName(role));
      if (tokens_.contains(whose)) continue;
      auto made = admin_->CreateToken({.name = whose, .project = project, .role = role});
      ASSERT_TRUE(made.ok()) << made.status();
      tokens_[whose] = made->text;
      if (whose == "alice/read") alice_.token_id = made->token.id;
      if (whose == "bob/read") bob_.token_id = made->token.id;
    }
  }
  Fill(alice_, "alice", *ConnectAs("alice/write"));
  Fill(bob_, "bob", *ConnectAs("bob/write"));
}

Metadata Guarded::Bearer(const std::string& token) {
  return {{kTokenHeader, kTokenScheme + token}};
}

std::unique_ptr<Client> Guarded::ConnectAs(const std::string& whose) {
  return Connect(daemon_.address(), absl::Seconds(20), {.token = Token(whose), .tls = tls_});
}

Reply Guarded::CallAs(const std::string& whose, const std::string& method, const std::string& text,
                      const std::map<std::string, std::string>& words) {
  return CallRaw(channel_, FullName(method), {Encode(method, text, words)}, Bearer(Token(whose)));
}

void Guarded::Run(const std::vector<Attack>& attacks) {
  for (const Attack& attack : attacks) {
    SCOPED_TRACE(attack.what);
    const absl::Status status = attack.run(*this);
    EXPECT_EQ(status.code(), attack.code) << status;
    EXPECT_EQ(ReasonOf(status), attack.reason) << status;
    // What gRPC says by itself has no reason, and at times no words.
    if (!attack.reason.empty()) {
      EXPECT_TRUE(IsOneSentence(std::string(status.message())));
    }
    const auto serves = admin_->GetRun({"alice", "r"});
    ASSERT_TRUE(serves.ok()) << serves.status() << "\n" << daemon_.process().Output();
  }
}

const std::map<std::string, std::string>& GoodRequests() {
  static const std::map<std::string, std::string> requests = {
      {"OpenAttempt", "$run launch_id: 'again' world_size: 1"},
      {"OpenUpload", "$run attempt: $attempt step: 30 manifest {}"},
      {"PushChunks", "upload_id: '$upload' end: true"},
      {"CommitShard", "upload_id: '$upload'"},
      {"AbortUpload", "upload_id: '$upload'"},
      {"AttachMetrics", "$run checkpoint_id: $checkpoint metrics { name: 'm' value: 1 }"},
      {"Resume", "$run attempt: $attempt"},
      {"ReportLoad", "ticket_id: '$ticket' ok: true"},
      {"Rewind", "$run checkpoint_id: $checkpoint"},
      {"Resolve", "$run"},
      {"GetManifest", "checkpoint_id: $checkpoint"},
      {"FetchChunks", "checkpoint_id: $checkpoint"},
      {"ListRuns", "$project"},
      {"GetRun", "$run"},
      {"ListCheckpoints", "$run"},
      {"GetCheckpoint", "checkpoint_id: $checkpoint"},
      {"ListEvents", "$run checkpoint_id: $checkpoint"},
      {"GetStats", "$run"},
      {"Verify", "$run"},
      {"GetScrub", ""},
      {"StartScrub", ""},
      {"GetPolicy", "$run"},
      {"SetPolicy", "$run dry_run: true"},
      {"Prune", "$run dry_run: true"},
      {"GetBudget", "$project"},
      {"SetBudget", "$project none: true dry_run: true"},
      {"DeleteCheckpoints", "$run checkpoint_ids: $checkpoint dry_run: true"},
      {"DeleteRun", "$run dry_run: true"},
      {"RestoreCheckpoint", "$run checkpoint_id: $checkpoint"},
      {"Pin", "$run checkpoint_id: $checkpoint name: 'p'"},
      {"Unpin", "$run checkpoint_id: $checkpoint name: 'p'"},
      {"SetAlias", "$run checkpoint_id: $checkpoint alias: 'a'"},
      {"DeleteAlias", "$run alias: 'a'"},
      {"GetQuota", "$project"},
      {"SetQuota", "$project bytes { none: true }"},
      {"CreateToken", "$project role: ROLE_READ name: 'n'"},
      {"ListTokens", "$project"},
      {"RevokeToken", "token_id: '$token'"},
      {"BackUpCatalog", ""},
  };
  return requests;
}

}  // namespace ckpt::test
