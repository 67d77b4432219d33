// Calls by who may not make them.
#include <fmt/format.h>

#include "client/upload.h"
#include "daemon/access/rules.h"
#include "proto/channel.h"
#include "tests/integration/daemon/guarded.h"

namespace ckpt::test {
namespace {

using Code = absl::StatusCode;

constexpr Code kWho = Code::kUnauthenticated;
constexpr Code kDenied = Code::kPermissionDenied;
constexpr Code kNone = Code::kNotFound;

// A good request of alice's with this metadata.
absl::Status CallWith(Guarded& guarded, const std::string& method, const Metadata& metadata) {
  return CallRaw(guarded.channel_, FullName(method),
                 {Encode(method, GoodRequests().at(method), guarded.alice_.words)}, metadata)
      .status;
}

// What is said of a thing of bob's, and of one that never was, in the same words.
absl::Status SameAsNothing(const absl::Status& of_bobs, const std::string& bobs,
                           const absl::Status& of_none, const std::string& none) {
  std::string message(of_none.message());
  for (size_t at = 0; (at = message.find(none, at)) != std::string::npos; at += bobs.size()) {
    message.replace(at, none.size(), bobs);
  }
  if (of_bobs.code() != of_none.code() || ReasonOf(of_bobs) != ReasonOf(of_none) ||
      std::string(of_bobs.message()) != message) {
    return absl::UnknownError(
        fmt::format("told apart: {} and {}", of_bobs.ToString(), of_none.ToString()));
  }
  return of_bobs;
}

}  // namespace

std::vector<Attack> TokenAttacks() {
  std::vector<Attack> attacks;
  for (const auto& [method, request] : GoodRequests()) {
    attacks.push_back({fmt::format("{} without a token", method), kWho, reason::kTokenMissing,
                       [method = method](Guarded& g) { return CallWith(g, method, {}); }});
  }
  struct Header {
    const char* what;
    std::function<std::string(const std::string& good)> value;
  };
  const std::vector<Header> headers = {
      {"empty", [](const std::string&) { return ""; }},
      {"the scheme alone", [](const std::string&) { return "Bearer"; }},
      {"no token", [](const std::string&) { return "Bearer "; }},
      {"no scheme", [](const std::string& good) { return good; }},
      {"another scheme", [](const std::string& good) { return "Basic " + good; }},
      {"the scheme in capitals", [](const std::string& good) { return "BEARER " + good; }},
      {"two blanks", [](const std::string& good) { return "Bearer  " + good; }},
      {"something behind it", [](const std::string& good) { return "Bearer " + good + " x"; }},
      {"two tokens", [](const std::string& good) { return "Bearer " + good + "," + good; }},
      {"no blank", [](const std::string& good) { return "Bearer" + good; }},
      {"cut by one",
       [](const std::string& good) { return "Bearer " + good.substr(0, good.size() - 1); }},
      {"longer by one", [](const std::string& good) { return "Bearer " + good + "0"; }},
      {"in capitals",
       [](const std::string& good) {
         std::string upper = good;
         for (char& c : upper) c = static_cast<char>(std::toupper(c));
         return "Bearer " + upper;
       }},
      {"the id alone",
       [](const std::string& good) { return "Bearer " + good.substr(0, good.rfind('_')); }},
      {"the last digit wrong",
       [](const std::string& good) {
         return "Bearer " + good.substr(0, good.size() - 1) + (good.back() == '0' ? "1" : "0");
       }},
      {"the first digit wrong",
       [](const std::string& good) {
         std::string other = good;
         char& c = other[other.rfind('_') + 1];
         c = c == '0' ? '1' : '0';
         return "Bearer " + other;
       }},
      {"another one's id",
       [](const std::string& good) {
         return "Bearer ckpt_0000000000000000" + good.substr(good.rfind('_'));
       }},
      {"SQL",
       [](const std::string& good) {
         return "Bearer ckpt_' OR '1'='1" + good.substr(good.rfind('_'));
       }},
      {"a path", [](const std::string&) { return "Bearer ../../admin"; }},
      {"6 kB", [](const std::string&) { return "Bearer " + std::string(6000, 'a'); }},
  };
  for (const Header& header : headers) {
    attacks.push_back(
        {fmt::format("authorization: {}", header.what), kWho, reason::kTokenInvalid,
         [header](Guarded& g) {
           return CallWith(g, "GetRun", {{kTokenHeader, header.value(g.Token("alice/read"))}});
         }});
  }
  attacks.push_back({"authorization twice", kWho, reason::kTokenInvalid, [](Guarded& g) {
                       const std::string value = kTokenScheme + g.Token("alice/read");
                       return CallWith(g, "GetRun", {{kTokenHeader, value}, {kTokenHeader, value}});
                     }});
  attacks.push_back(
      {"the token in another header", kWho, reason::kTokenMissing, [](Guarded& g) {
         return CallWith(g, "GetRun", {{"x-authorization", kTokenScheme + g.Token("alice/read")}});
       }});
  const auto ended = [](Guarded& g, std::optional<absl::Duration> lifetime) {
    auto made = g.admin_->CreateToken(
        {.name = "ended", .project = "alice", .role = Role::kAdmin, .lifetime = lifetime});
    EXPECT_TRUE(made.ok()) << made.status();
    if (lifetime) return made->text;
    // Good until it ends.
    EXPECT_TRUE(CallWith(g, "GetRun", Guarded::Bearer(made->text)).ok());
    EXPECT_TRUE(g.admin_->RevokeToken(made->token.id).ok());
    return made->text;
  };
  for (const char* method : {"GetRun", "FetchChunks", "PushChunks", "DeleteRun"}) {
    attacks.push_back(
        {fmt::format("{} with a revoked token", method), kWho, reason::kTokenInvalid,
         [=](Guarded& g) { return CallWith(g, method, Guarded::Bearer(ended(g, std::nullopt))); }});
    attacks.push_back({fmt::format("{} with an expired token", method), kWho, reason::kTokenInvalid,
                       [=](Guarded& g) {
                         const std::string text = ended(g, absl::Nanoseconds(1));
                         return CallWith(g, method, Guarded::Bearer(text));
                       }});
  }
  return attacks;
}

std::vector<Attack> RoleAttacks() {
  std::vector<Attack> attacks;
  for (const auto& [method, request] : GoodRequests()) {
    const ckptd::Rule& rule = *ckptd::FindRule(method);
    for (const Role role : {Role::kRead, Role::kWrite}) {
      if (role >= rule.role) continue;
      attacks.push_back({fmt::format("{} by {}", method, RoleName(role)), kDenied,
                         reason::kRoleTooLow, [method = method, role](Guarded& g) {
                           const std::string whose = fmt::format("alice/{}", RoleName(role));
                           return CallWith(g, method, Guarded::Bearer(g.Token(whose)));
                         }});
    }
  }
  return attacks;
}

std::vector<Attack> ProjectAttacks() {
  std::vector<Attack> attacks;
  struct Row {
    const char* what;
    const char* method;
    const char* request;  // words are bob's
  };
  // By a token of alice's that may everything there.
  const auto denied = [&](const Row& row) {
    attacks.push_back(
        {fmt::format("{}: {}", row.method, row.what), kDenied, reason::kProjectDenied,
         [row](Guarded& g) {
           return g.CallAs("alice/admin", row.method, row.request, g.bob_.words).status;
         }});
  };
  for (const auto& [method, request] : GoodRequests()) {
    const bool by_name =
        request.find("$run") != std::string::npos || request.find("$project") != std::string::npos;
    if (by_name && method != "SetQuota" && method != "ListEvents") {
      denied({"bob's by name", method.c_str(), request.c_str()});
    }
  }
  for (const Row& row : std::vector<Row>{
           {"bob's by name", "ListEvents", "$run"},
           {"bob's, of which alice may go on", "Resume",
            "run { project: 'alice' run: 'r' } attempt: 2 from_run { project: 'bob' run: 'r' }"},
           {"a run that bob does not have", "GetRun", "run { project: 'bob' run: 'none' }"},
           {"a project that nobody has", "GetRun", "run { project: 'nobody' run: 'r' }"},
           {"a run of the default project", "GetRun", "run { run: 'r' }"},
           {"no project, which is the default one", "GetBudget", ""},
           {"the daemon's figures", "GetStats", ""},
           {"bob's figures", "GetStats", "run { project: 'bob' }"},
           {"all of bob's", "Prune", "$project"},
           {"all of bob's", "Verify", "run { project: 'bob' } all_runs: true"},
           {"all there is", "Verify", "all_runs: true"},
           {"what is read of all projects", "GetScrub", ""},
           {"a pass over all projects", "StartScrub", ""},
           {"the catalog of all projects", "BackUpCatalog", ""},
           {"a new run of bob's", "OpenAttempt",
            "run { project: 'bob' run: 'new' } launch_id: 'l' world_size: 1"},
           {"a token for all projects", "CreateToken",
            "all_projects: true role: ROLE_READ name: 'n'"},
           {"its own quota", "SetQuota", "project: 'alice' bytes { none: true }"},
           {"bob's quota", "SetQuota", "$project bytes { limit: 1 }"},
           {"a project in other letters", "GetRun", "run { project: 'ALICE' run: 'r' }"},
           {"a project that begins alike", "ListRuns", "project: 'alic'"},
           {"a project that is a path", "GetRun", "run { project: 'alice/../bob' run: 'r' }"},
       }) {
    denied(row);
  }

  // By ids, which say nothing of their project: they are not there.
  struct ById {
    const char* what;
    const char* method;
    const char* request;  // with $id
    const char* word;     // of which id
    const char* none;     // an id that never was
    const char* reason;
  };
  for (const ById& row : std::vector<ById>{
           {"checkpoint", "GetCheckpoint", "checkpoint_id: $id", "checkpoint", "987654",
            reason::kCheckpointNotFound},
           {"checkpoint", "GetManifest", "checkpoint_id: $id", "checkpoint", "987654",
            reason::kCheckpointNotFound},
           {"a rank that it lacks", "GetManifest", "checkpoint_id: $id rank: 7", "checkpoint",
            "987654", reason::kCheckpointNotFound},
           {"checkpoint", "FetchChunks", "checkpoint_id: $id", "checkpoint", "987654",
            reason::kCheckpointNotFound},
           {"a chunk that it lacks", "FetchChunks", "checkpoint_id: $id chunks: 99", "checkpoint",
            "987654", reason::kCheckpointNotFound},
           {"an entry", "FetchChunks", "checkpoint_id: $id entries: 'w'", "checkpoint", "987654",
            reason::kCheckpointNotFound},
           {"checkpoint", "ListEvents", "checkpoint_id: $id", "checkpoint", "987654",
            reason::kCheckpointNotFound},
           {"checkpoint under an own name", "ListEvents", "$run checkpoint_id: $id", "checkpoint",
            "987654", reason::kCheckpointNotFound},
           {"checkpoint under an own name", "AttachMetrics",
            "$run checkpoint_id: $id metrics { name: 'm' value: 1 }", "checkpoint", "987654",
            reason::kCheckpointNotFound},
           {"checkpoint under an own name", "Verify", "$run checkpoint_id: $id", "checkpoint",
            "987654", reason::kCheckpointNotFound},
           {"checkpoint under an own name", "Pin", "$run checkpoint_id: $id name: 'p'",
            "checkpoint", "987654", reason::kCheckpointNotFound},
           {"checkpoint under an own name", "Unpin", "$run checkpoint_id: $id name: 'p'",
            "checkpoint", "987654", reason::kCheckpointNotFound},
           {"checkpoint under an own name", "SetAlias", "$run checkpoint_id: $id alias: 'a'",
            "checkpoint", "987654", reason::kCheckpointNotFound},
           {"checkpoint under an own name", "Rewind", "$run checkpoint_id: $id", "checkpoint",
            "987654", reason::kCheckpointNotFound},
           {"checkpoint under an own name", "RestoreCheckpoint", "$run checkpoint_id: $id",
            "checkpoint", "987654", reason::kCheckpointNotFound},
           {"checkpoint under an own name", "DeleteCheckpoints", "$run checkpoint_ids: $id",
            "checkpoint", "987654", reason::kCheckpointNotFound},
           {"checkpoint beside an own one, previewed", "DeleteCheckpoints",
            "$run checkpoint_ids: $id dry_run: true", "checkpoint", "987654",
            reason::kCheckpointNotFound},
           {"checkpoint by selector", "Resolve", "$run selector { id: $id }", "checkpoint",
            "987654", reason::kSelectorMatchesNothing},
           {"checkpoint by selector, removed ones too", "Resolve",
            "$run selector { id: $id } include_removed: true", "checkpoint", "987654",
            reason::kSelectorMatchesNothing},
           {"upload", "PushChunks", "upload_id: '$id' end: true", "upload", "u987654",
            reason::kUploadNotFound},
           {"upload and bytes", "PushChunks", "upload_id: '$id' data: 'x'", "upload", "u987654",
            reason::kUploadNotFound},
           {"upload", "CommitShard", "upload_id: '$id'", "upload", "u987654",
            reason::kUploadNotFound},
           {"upload", "AbortUpload", "upload_id: '$id'", "upload", "u987654",
            reason::kUploadNotFound},
           {"ticket", "ReportLoad", "ticket_id: '$id' ok: true", "ticket", "t987654",
            reason::kTicketNotFound},
           {"ticket, and a rank that it lacks", "ReportLoad", "ticket_id: '$id' rank: 9", "ticket",
            "t987654", reason::kTicketNotFound},
           {"token", "RevokeToken", "token_id: '$id'", "token", "0123456789abcdef",
            reason::kTokenNotFound},
       }) {
    attacks.push_back(
        {fmt::format("{}: bob's {}", row.method, row.what), kNone, row.reason, [row](Guarded& g) {
           const auto call = [&](const std::string& id) {
             auto words = g.alice_.words;
             words["id"] = id;
             return g.CallAs("alice/admin", row.method, row.request, words).status;
           };
           const std::string& bobs = g.bob_.words.at(row.word);
           return SameAsNothing(call(bobs), bobs, call(row.none), row.none);
         }});
  }
  attacks.push_back(
      {"RevokeToken: one for all projects", kNone, reason::kTokenNotFound, [](Guarded& g) {
         const auto tokens = g.admin_->ListTokens();
         EXPECT_TRUE(tokens.ok()) << tokens.status();
         const auto all = std::ranges::find(*tokens, std::string(), &Token::project);
         return g.CallAs("alice/admin", "RevokeToken", "token_id: '$id'", {{"id", all->id}}).status;
       }});

  // Chunks are shared inside a project only: what bob has, alice must send.
  attacks.push_back(
      {"OpenUpload: bob's chunk by its digest, not sent", Code::kFailedPrecondition,
       reason::kChunksMissing, [](Guarded& g) {
         const Shard bobs = MakeShard({{"w", 7, 5000}});
         auto client = g.ConnectAs("alice/write");
         const RunName run{"alice", "borrower"};
         const uint64_t attempt = OpenAttempt(*client, run);
         const Shard other = MakeShard({{"w", 99, 5000}});
         EXPECT_TRUE(
             PushShard(*g.ConnectAs("bob/write"), {"bob", "r"}, g.bob_.attempt, 40, other).ok());
         auto opened = client->OpenUpload(
             {.run = run, .attempt = attempt, .step = 1, .manifest = &other.manifest});
         EXPECT_TRUE(opened.ok()) << opened.status();
         EXPECT_EQ(opened->missing_chunks.size(), 1u);
         return client->CommitShard(opened->upload_id).status();
       }});
  return attacks;
}

}  // namespace ckpt::test
