// Names, ids and sizes that are none, from somebody who may everything.
#include <fmt/format.h>

#include "proto/channel.h"
#include "proto/limits.h"
#include "tests/integration/daemon/guarded.h"

namespace ckpt::test {
namespace {

using Code = absl::StatusCode;

constexpr Code kBad = Code::kInvalidArgument;
constexpr Code kNone = Code::kNotFound;
constexpr Code kLimit = Code::kResourceExhausted;

// A field that holds a name or an id, and what a path in it comes to.
struct Field {
  const char* field;
  const char* method;
  const char* request;  // with $x
  Code code = kBad;
  const char* reason = reason::kBadName;
};

const std::vector<Field>& Fields() {
  static const std::vector<Field> fields = {
      {"run", "OpenAttempt", "run { project: 'alice' run: '$x' } launch_id: 'l' world_size: 1"},
      {"project", "OpenAttempt", "run { project: '$x' run: 'r' } launch_id: 'l' world_size: 1"},
      {"launch_id", "OpenAttempt", "$run launch_id: '$x' world_size: 1"},
      {"run", "OpenUpload", "run { project: 'alice' run: '$x' } attempt: 1 step: 1 manifest {}"},
      {"metric", "OpenUpload", "$run attempt: $attempt step: 1 metrics { name: '$x' value: 1 }"},
      {"pending metric", "OpenUpload", "$run attempt: $attempt step: 1 pending_metrics: '$x'"},
      {"upload_id", "PushChunks", "upload_id: '$x' end: true", kNone, reason::kUploadNotFound},
      {"upload_id", "CommitShard", "upload_id: '$x'", kNone, reason::kUploadNotFound},
      {"upload_id", "AbortUpload", "upload_id: '$x'", kNone, reason::kUploadNotFound},
      {"metric", "AttachMetrics", "$run checkpoint_id: $checkpoint metrics { name: '$x' }"},
      {"alias", "Resume", "$run attempt: $attempt selector { alias: '$x' }"},
      {"metric", "Resume", "$run attempt: $attempt selector { best: '$x' }"},
      {"from_run", "Resume", "$run attempt: $attempt from_run { project: 'alice' run: '$x' }"},
      {"from_run's project", "Resume",
       "$run attempt: $attempt from_run { project: '$x' run: 'r' }"},
      {"ticket_id", "ReportLoad", "ticket_id: '$x' ok: true", kNone, reason::kTicketNotFound},
      {"run", "Resolve", "run { project: 'alice' run: '$x' }"},
      {"alias", "Resolve", "$run selector { alias: '$x' }"},
      {"entry", "FetchChunks", "checkpoint_id: $checkpoint entries: '$x'", kNone,
       reason::kEntryNotFound},
      {"range's entry", "FetchChunks", "checkpoint_id: $checkpoint range { entry: '$x' }", kNone,
       reason::kEntryNotFound},
      {"project", "ListRuns", "project: '$x'"},
      {"name_prefix", "ListRuns", "name_prefix: '$x'"},
      {"page_token", "ListRuns", "page_token: '$x'", kBad, reason::kBadField},
      {"page_token", "ListCheckpoints", "$run page_token: '$x'", kBad, reason::kBadField},
      {"page_token", "ListTokens", "page_token: '$x'", kBad, reason::kBadField},
      {"project", "GetStats", "run { project: '$x' }"},
      {"project", "Prune", "project: '$x'"},
      {"project", "GetBudget", "project: '$x'"},
      {"project", "SetBudget", "project: '$x' none: true"},
      {"project", "GetQuota", "project: '$x'"},
      {"project", "SetQuota", "project: '$x' bytes { none: true }"},
      {"pin", "Pin", "$run checkpoint_id: $checkpoint name: '$x'"},
      {"alias", "SetAlias", "$run checkpoint_id: $checkpoint alias: '$x'"},
      {"alias", "DeleteAlias", "$run alias: '$x'"},
      {"run", "DeleteRun", "run { project: 'alice' run: '$x' }"},
      {"run", "Verify", "run { project: 'alice' run: '$x' }"},
      {"project", "CreateToken", "project: '$x' role: ROLE_READ name: 'n'"},
      {"name", "CreateToken", "project: 'alice' role: ROLE_READ name: '$x'"},
      {"token_id", "RevokeToken", "token_id: '$x'", kNone, reason::kTokenNotFound},
  };
  return fields;
}

Attack Row(const std::string& what, const std::string& method, const std::string& request,
           Code code, const std::string& reason, const std::string& x = "") {
  return {what, code, reason, [=](Guarded& g) {
            auto words = g.alice_.words;
            words["x"] = x;
            return g.CallAs("all/admin", method, request, words).status;
          }};
}

// Raw bytes as the request.
Attack Raw(const std::string& what, const std::string& method, Code code, const std::string& reason,
           const std::function<std::string(Guarded&)>& message) {
  return {what, code, reason, [=](Guarded& g) {
            return CallRaw(g.channel_, FullName(method), {message(g)},
                           Guarded::Bearer(g.Token("all/admin")))
                .status;
          }};
}

// With metadata beside the token.
Attack With(const std::string& what, const Metadata& more, Code code, const std::string& reason) {
  return {what, code, reason, [=](Guarded& g) {
            Metadata metadata = Guarded::Bearer(g.Token("all/admin"));
            metadata.insert(metadata.end(), more.begin(), more.end());
            return CallRaw(g.channel_, FullName("Unpin"),
                           {Encode("Unpin", "$run checkpoint_id: $checkpoint name: 'none'",
                                   g.alice_.words)},
                           metadata)
                .status;
          }};
}

}  // namespace

std::vector<Attack> NameAttacks() {
  const std::pair<const char*, std::string> tricks[] = {
      {"a path upwards", "../../evil"},
      {"an absolute path", "/tmp/evil"},
      {"a zero byte", "evil\\000.sqlite"},
  };
  std::vector<Attack> attacks;
  for (const Field& field : Fields()) {
    for (const auto& [what, x] : tricks) {
      attacks.push_back(Row(fmt::format("{} of {}: {}", field.field, field.method, what),
                            field.method, field.request, field.code, field.reason, x));
    }
  }
  return attacks;
}

std::vector<Attack> SizeAttacks() {
  std::vector<Attack> attacks;
  for (const char* method : {"OpenUpload", "PushChunks", "FetchChunks", "Pin", "CreateToken"}) {
    // gRPC's own refusal, before a byte of it is kept.
    attacks.push_back(Raw(fmt::format("{} of 64 MiB and a byte", method), method, kLimit, "",
                          [](Guarded&) { return std::string(kMaxMessageBytes + 1, '\0'); }));
  }
  const auto upload = [](const std::function<void(Guarded&, v1::OpenUploadRequest&)>& fill) {
    return [=](Guarded& g) {
      v1::OpenUploadRequest request;
      request.mutable_run()->set_project("alice");
      request.mutable_run()->set_run("r");
      request.set_attempt(g.alice_.attempt);
      request.set_step(50);
      fill(g, request);
      return request.SerializeAsString();
    };
  };
  attacks.push_back(Raw("a manifest of too many entries", "OpenUpload", kBad, reason::kBadManifest,
                        upload([](Guarded&, v1::OpenUploadRequest& request) {
                          for (size_t i = 0; i <= kMaxEntries; ++i) {
                            request.mutable_manifest()->add_entries()->set_name(std::to_string(i));
                          }
                        })));
  attacks.push_back(Raw("a manifest of too many chunks", "OpenUpload", kBad, reason::kBadManifest,
                        upload([](Guarded&, v1::OpenUploadRequest& request) {
                          for (size_t i = 0; i <= kMaxChunks; ++i) {
                            v1::Chunk& chunk = *request.mutable_manifest()->add_chunks();
                            chunk.set_digest(std::string(32, 'd'));
                            chunk.set_length(4);
                          }
                        })));
  attacks.push_back(Raw("a manifest of 4 TiB", "OpenUpload", kLimit, reason::kNoSpace,
                        upload([](Guarded&, v1::OpenUploadRequest& request) {
                          for (uint32_t i = 0; i < kMaxChunks; ++i) {
                            std::string digest(32, '\0');
                            std::memcpy(digest.data(), &i, sizeof(i));
                            v1::Chunk& chunk = *request.mutable_manifest()->add_chunks();
                            chunk.set_digest(digest);
                            chunk.set_length(kMaxChunkBytes);
                          }
                        })));
  attacks.push_back(Raw("257 metrics", "OpenUpload", kBad, reason::kBadField,
                        upload([](Guarded&, v1::OpenUploadRequest& request) {
                          for (size_t i = 0; i <= kMaxMetrics; ++i) {
                            request.add_metrics()->set_name("m" + std::to_string(i));
                          }
                        })));
  attacks.push_back(Raw("65 labels", "OpenUpload", kBad, reason::kBadField,
                        upload([](Guarded&, v1::OpenUploadRequest& request) {
                          for (size_t i = 0; i <= kMaxLabels; ++i) {
                            (*request.mutable_labels())[std::to_string(i)] = "";
                          }
                        })));
  attacks.push_back(Raw("a label of 10 kB", "OpenUpload", kBad, reason::kBadField,
                        upload([](Guarded&, v1::OpenUploadRequest& request) {
                          (*request.mutable_labels())["note"] = std::string(10240, 'x');
                        })));
  const std::pair<const char*, const char*> named[] = {
      {"run", "run { project: 'alice' run: '$10k' }"},
      {"project", "run { project: '$10k' run: 'r' }"},
  };
  for (const auto& [field, request] : named) {
    attacks.push_back(
        Row(fmt::format("a {} of 10 kB", field), "GetRun", request, kBad, reason::kBadName));
  }
  for (const Attack& row : {
           Row("a pin of 10 kB", "Pin", "$run checkpoint_id: $checkpoint name: '$10k'", kBad,
               reason::kBadName),
           Row("a token's name of 10 kB", "CreateToken", "role: ROLE_READ name: '$10k'", kBad,
               reason::kBadName),
           Row("a token's id of 10 kB", "RevokeToken", "token_id: '$10k'", kNone,
               reason::kTokenNotFound),
           Row("a token that lives for ever and a day", "CreateToken",
               "role: ROLE_READ name: 'n' lifetime { seconds: 315576000001 }", kBad,
               reason::kBadField),
           Row("a token that is dead already", "CreateToken",
               "role: ROLE_READ name: 'n' lifetime { seconds: -1 }", kBad, reason::kBadField),
           Row("a token without a role", "CreateToken", "name: 'n'", kBad, reason::kBadField),
           Row("a token with a role past all", "CreateToken", "role: 4 name: 'n'", kBad,
               reason::kBadField),
           Row("a token with a role of all bits", "CreateToken", "role: -1 name: 'n'", kBad,
               reason::kBadField),
           Row("a token for one project and for all", "CreateToken",
               "project: 'alice' all_projects: true role: ROLE_READ name: 'n'", kBad,
               reason::kBadField),
           Row("a quota of nothing", "SetQuota", "$project bytes { limit: 0 }", kBad,
               reason::kBadField),
           Row("a quota that says nothing", "SetQuota", "$project", kBad, reason::kBadField),
           Row("a quota that names a limit and not what", "SetQuota", "$project uploads {}", kBad,
               reason::kBadField),
           With("a request id of 129 bytes", {{kRequestIdHeader, std::string(129, 'i')}}, kBad,
                reason::kBadField),
           With("two request ids", {{kRequestIdHeader, "a"}, {kRequestIdHeader, "b"}}, kBad,
                reason::kBadField),
           With("an empty request id", {{kRequestIdHeader, ""}}, kBad, reason::kBadField),
       }) {
    attacks.push_back(row);
  }
  return attacks;
}

}  // namespace ckpt::test
