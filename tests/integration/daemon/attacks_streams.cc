// What is out of order, sent again, or from who is no longer in charge: by a
// writer, in the writer's own project.
#include <fmt/format.h>
#include <grpcpp/support/sync_stream.h>

#include "proto/channel.h"
#include "proto/limits.h"
#include "tests/integration/daemon/guarded.h"

namespace ckpt::test {
namespace {

using Code = absl::StatusCode;

constexpr Code kBad = Code::kInvalidArgument;
constexpr Code kNone = Code::kNotFound;
constexpr Code kState = Code::kFailedPrecondition;

// An upload of three chunks in a run of its own.
struct Fresh {
  RunName run;
  uint64_t attempt = 0;
  Shard shard;
  std::string upload;
  std::unique_ptr<Client> client;
  std::map<std::string, std::string> words;

  explicit Fresh(Guarded& g) {
    static int runs = 0;
    run = {"alice", fmt::format("s{}", ++runs)};
    client = g.ConnectAs("alice/write");
    attempt = OpenAttempt(*client, run);
    const auto seed = static_cast<uint64_t>(1000 + 2 * runs);
    shard = MakeShard({{"a", seed, 5 * kMiB}, {"b", seed + 1, 300000}});
    auto opened = client->OpenUpload(
        {.run = run, .attempt = attempt, .step = 1, .manifest = &shard.manifest});
    EXPECT_TRUE(opened.ok()) << opened.status();
    upload = opened.ok() ? opened->upload_id : "";
    words = {{"run", fmt::format("run {{ project: 'alice' run: '{}' }}", run.run)},
             {"attempt", std::to_string(attempt)},
             {"upload", upload}};
  }

  v1::ChunkFrame Frame(uint32_t index) const {
    v1::ChunkFrame frame;
    frame.set_upload_id(upload);
    frame.set_chunk_index(index);
    uint64_t offset = 0;
    for (uint32_t i = 0; i < index; ++i) offset += shard.manifest.chunks[i].length;
    frame.set_data(shard.bytes.data() + offset, shard.manifest.chunks[index].length);
    return frame;
  }
  // All of it, until it is a checkpoint.
  uint64_t Finish(uint64_t step = 1) {
    auto pushed = PushShard(*client, run, attempt, step, shard);
    EXPECT_TRUE(pushed.ok()) << pushed.status();
    return pushed.ok() ? pushed->checkpoint->id : 0;
  }
};

v1::ChunkFrame End() {
  v1::ChunkFrame frame;
  frame.set_end(true);
  return frame;
}

absl::Status Send(Guarded& g, const std::vector<v1::ChunkFrame>& frames) {
  std::vector<std::string> messages;
  for (const auto& frame : frames) messages.push_back(frame.SerializeAsString());
  return CallRaw(g.channel_, FullName("PushChunks"), messages,
                 Guarded::Bearer(g.Token("alice/write")))
      .status;
}

// A stream that changes what its frames say.
Attack Stream(const std::string& what, Code code, const std::string& reason,
              const std::function<std::vector<v1::ChunkFrame>(Fresh&)>& frames) {
  return {"a push stream: " + what, code, reason, [=](Guarded& g) {
            Fresh fresh(g);
            return Send(g, frames(fresh));
          }};
}

// A call after something has happened to the upload.
Attack After(const std::string& what, Code code, const std::string& reason,
             const std::function<void(Fresh&)>& before, const std::string& method,
             const std::string& request) {
  return {fmt::format("{} {}", method, what), code, reason, [=](Guarded& g) {
            Fresh fresh(g);
            before(fresh);
            return g.CallAs("alice/write", method, request, fresh.words).status;
          }};
}

void Overtake(Fresh& fresh) { EXPECT_GT(OpenAttempt(*fresh.client, fresh.run), fresh.attempt); }
void Abort(Fresh& fresh) { EXPECT_TRUE(fresh.client->AbortUpload(fresh.upload).ok()); }
void Commit(Fresh& fresh) { fresh.Finish(); }

// Opens a push stream by hand: frames, then whatever `then` does, then frames.
absl::Status SendAround(Guarded& g, const std::string& token,
                        const std::vector<v1::ChunkFrame>& first, const std::function<void()>& then,
                        const std::vector<v1::ChunkFrame>& second) {
  static const grpc::internal::RpcMethod method(kPushChunksMethod,
                                                grpc::internal::RpcMethod::BIDI_STREAMING);
  grpc::ClientContext context;
  context.AddMetadata(kTokenHeader, kTokenScheme + token);
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(30));
  const std::unique_ptr<grpc::ClientReaderWriter<v1::ChunkFrame, v1::PushChunksResponse>> call(
      grpc::internal::ClientReaderWriterFactory<v1::ChunkFrame, v1::PushChunksResponse>::Create(
          g.channel_.get(), method, &context));
  for (const auto& frame : first) call->Write(frame);
  then();
  for (const auto& frame : second) call->Write(frame);
  call->WritesDone();
  v1::PushChunksResponse response;
  while (call->Read(&response)) {
  }
  return FromGrpc(call->Finish());
}

}  // namespace

std::vector<Attack> StreamAttacks() {
  using Frames = std::vector<v1::ChunkFrame>;
  std::vector<Attack> attacks = {
      Stream("nothing at all", kBad, reason::kBadFrame, [](Fresh&) { return Frames{}; }),
      Stream("its end first", kBad, reason::kBadFrame, [](Fresh&) { return Frames{End()}; }),
      Stream("no end", kBad, reason::kBadFrame,
             [](Fresh& f) {
               return Frames{f.Frame(0), f.Frame(1)};
             }),
      Stream("no upload id", kBad, reason::kBadFrame,
             [](Fresh& f) {
               v1::ChunkFrame frame = f.Frame(0);
               frame.clear_upload_id();
               return Frames{frame, End()};
             }),
      Stream("one bit of the bytes is wrong", kBad, reason::kDigestMismatch,
             [](Fresh& f) {
               v1::ChunkFrame frame = f.Frame(2);
               (*frame.mutable_data())[100] ^= 1;
               return Frames{frame, End()};
             }),
      Stream("the bytes of another chunk", kBad, reason::kDigestMismatch,
             [](Fresh& f) {
               v1::ChunkFrame frame = f.Frame(2);
               frame.set_chunk_index(1);
               return Frames{frame, End()};
             }),
      Stream("a byte too few", kBad, reason::kDigestMismatch,
             [](Fresh& f) {
               v1::ChunkFrame frame = f.Frame(2);
               frame.mutable_data()->pop_back();
               return Frames{frame, End()};
             }),
      Stream("more than a chunk has at most", kBad, reason::kBadFrame,
             [](Fresh& f) {
               v1::ChunkFrame frame = f.Frame(2);
               frame.set_data(std::string(kMaxChunkBytes + 1, 'x'));
               return Frames{frame, End()};
             }),
      Stream("one past the last chunk", kBad, reason::kBadFrame,
             [](Fresh& f) {
               v1::ChunkFrame frame = f.Frame(2);
               frame.set_chunk_index(3);
               return Frames{frame, End()};
             }),
      Stream("the largest index", kBad, reason::kBadFrame,
             [](Fresh& f) {
               v1::ChunkFrame frame = f.Frame(2);
               frame.set_chunk_index(UINT32_MAX);
               return Frames{frame, End()};
             }),
      Stream("a bad frame behind good ones", kBad, reason::kDigestMismatch,
             [](Fresh& f) {
               v1::ChunkFrame frame = f.Frame(1);
               frame.mutable_data()->back() ^= 1;
               return Frames{f.Frame(0), frame, End()};
             }),
      Stream("again, after the upload was committed", kNone, reason::kUploadNotFound,
             [](Fresh& f) {
               f.Finish();
               return Frames{f.Frame(0), End()};
             }),
      Stream("again, after the upload was aborted", kNone, reason::kUploadNotFound,
             [](Fresh& f) {
               Abort(f);
               return Frames{f.Frame(0), End()};
             }),
      Stream("from an attempt that was overtaken", kState, reason::kAttemptFenced,
             [](Fresh& f) {
               Overtake(f);
               return Frames{f.Frame(0), End()};
             }),

      After(
          "before its chunks", kState, reason::kChunksMissing, [](Fresh&) {}, "CommitShard",
          "upload_id: '$upload'"),
      After("after it was aborted", kNone, reason::kUploadNotFound, Abort, "CommitShard",
            "upload_id: '$upload'"),
      After("of an attempt that was overtaken", kState, reason::kAttemptFenced, Overtake,
            "CommitShard", "upload_id: '$upload'"),
      After("of an attempt that was overtaken", kState, reason::kAttemptFenced, Overtake,
            "OpenUpload", "$run attempt: $attempt step: 2 manifest {}"),
      After("of an attempt that was overtaken", kState, reason::kAttemptFenced, Overtake, "Resume",
            "$run attempt: $attempt"),
      After(
          "of an attempt that is not there yet", kNone, reason::kAttemptNotFound, [](Fresh&) {},
          "OpenUpload", "$run attempt: 77 step: 2 manifest {}"),
      After(
          "of the largest attempt", kNone, reason::kAttemptNotFound, [](Fresh&) {}, "OpenUpload",
          "$run attempt: 18446744073709551615 step: 2 manifest {}"),
      After(
          "with other content, while under way", Code::kAlreadyExists, reason::kStepContentDiffers,
          [](Fresh&) {}, "OpenUpload", "$run attempt: $attempt step: 1 manifest {}"),
      After("with other content, once committed", Code::kAlreadyExists, reason::kStepContentDiffers,
            Commit, "OpenUpload", "$run attempt: $attempt step: 1 manifest {}"),
      After(
          "of a rank that is none", kBad, reason::kBadField, [](Fresh&) {}, "OpenUpload",
          "$run attempt: $attempt step: 2 rank: 1 manifest {}"),
      After(
          "of a step past 63 bits", kBad, reason::kBadField, [](Fresh&) {}, "OpenUpload",
          "$run attempt: $attempt step: 9223372036854775808 manifest {}"),
      After(
          "of a rank that is none", kBad, reason::kBadField, [](Fresh&) {}, "Resume",
          "$run attempt: $attempt rank: 4294967295"),
      After(
          "with another world size", kState, reason::kWorldSizeDiffers,
          [](Fresh& f) { EXPECT_TRUE(f.client->OpenAttempt(f.run, "same", 1).ok()); },
          "OpenAttempt", "$run launch_id: 'same' world_size: 2"),
  };
  attacks.push_back(
      {"a push stream whose token is revoked on the way", Code::kUnauthenticated,
       reason::kTokenInvalid, [](Guarded& g) {
         Fresh fresh(g);
         auto made =
             g.admin_->CreateToken({.name = "short", .project = "alice", .role = Role::kWrite});
         EXPECT_TRUE(made.ok()) << made.status();
         return SendAround(g, made->text, {fresh.Frame(0)},
                           [&] { EXPECT_TRUE(g.admin_->RevokeToken(made->token.id).ok()); },
                           {fresh.Frame(1), End()});
       }});
  attacks.push_back({"a push stream that is overtaken on the way", kState, reason::kAttemptFenced,
                     [](Guarded& g) {
                       Fresh fresh(g);
                       const absl::Status sent = SendAround(
                           g, g.Token("alice/write"), {fresh.Frame(0)}, [&] { Overtake(fresh); },
                           {fresh.Frame(1), fresh.Frame(2), End()});
                       // What arrived before is of no use to who was overtaken.
                       if (!sent.ok()) return sent;
                       return fresh.client->CommitShard(fresh.upload).status();
                     }});
  struct Reused {
    const char* what;
    const char* method;
    const char* first;
    const char* second;
  };
  for (const Reused& row : std::vector<Reused>{
           {"another name", "Pin", "$run checkpoint_id: $id name: 'p'",
            "$run checkpoint_id: $id name: 'q'"},
           {"another alias", "SetAlias", "$run checkpoint_id: $id alias: 'a'",
            "$run checkpoint_id: $id alias: 'b'"},
       }) {
    attacks.push_back({fmt::format("{}: a request id again, with {}", row.method, row.what), kBad,
                       reason::kRequestIdReused, [row](Guarded& g) {
                         Fresh fresh(g);
                         fresh.words["id"] = std::to_string(fresh.Finish());
                         Metadata metadata = Guarded::Bearer(g.Token("alice/write"));
                         metadata.push_back({kRequestIdHeader, fresh.run.run});
                         const auto call = [&](const char* request) {
                           return CallRaw(g.channel_, FullName(row.method),
                                          {Encode(row.method, request, fresh.words)}, metadata)
                               .status;
                         };
                         EXPECT_TRUE(call(row.first).ok());
                         EXPECT_TRUE(call(row.first).ok());  // the same is answered again
                         return call(row.second);
                       }});
  }
  attacks.push_back(
      {"CreateToken: a request id again, to take over a token in use", kBad,
       reason::kRequestIdReused, [](Guarded& g) {
         Metadata metadata = Guarded::Bearer(g.Token("alice/admin"));
         metadata.push_back({kRequestIdHeader, "make"});
         const auto call = [&] {
           return CallRaw(
               g.channel_, FullName("CreateToken"),
               {Encode("CreateToken", "project: 'alice' role: ROLE_READ name: 'victim'", {})},
               metadata);
         };
         v1::CreateTokenResponse made;
         EXPECT_TRUE(made.ParseFromString(call().messages.at(0)));
         EXPECT_TRUE(CallRaw(g.channel_, FullName("ListRuns"), {""}, Guarded::Bearer(made.text()))
                         .status.ok());
         return call().status;
       }});
  for (const auto& [what, request] : std::vector<std::pair<const char*, const char*>>{
           {"a chunk past the last", "checkpoint_id: $checkpoint chunks: 1"},
           {"the largest chunk", "checkpoint_id: $checkpoint chunks: 4294967295"},
           {"a range past its entry",
            "checkpoint_id: $checkpoint range { entry: 'w' offset: 4999 length: 2 }"},
           {"a range whose end overflows",
            "checkpoint_id: $checkpoint range { entry: 'w' offset: 2 "
            "length: 18446744073709551615 }"},
       }) {
    attacks.push_back(
        {fmt::format("FetchChunks: {}", what), kBad, reason::kBadField,
         [request = request](Guarded& g) {
           return g.CallAs("alice/read", "FetchChunks", request, g.alice_.words).status;
         }});
  }
  for (const auto& [what, method] : std::vector<std::pair<const char*, const char*>>{
           {"a call that is none", "/ckpt.v1.Checkpoints/Drop"},
           {"a service that is none", "/other.Service/Call"},
           {"gRPC's reflection", "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"},
       }) {
    attacks.push_back(
        {what, Code::kUnimplemented, "", [method = method](Guarded& g) {
           return CallRaw(g.channel_, method, {""}, Guarded::Bearer(g.Token("all/admin"))).status;
         }});
  }
  // Bytes that are no message: before anything is known of who sends them.
  for (const auto* method : Methods()) {
    const bool raw = method->name() == "PushChunks" || method->name() == "FetchChunks";
    attacks.push_back({fmt::format("{}: bytes that are no message", method->name()), kBad,
                       raw ? reason::kBadFrame : reason::kBadField,
                       [name = method->name()](Guarded& g) {
                         return CallRaw(g.channel_, FullName(name), {"\x0a\x7fshort"},
                                        Guarded::Bearer(g.Token("all/admin")))
                             .status;
                       }});
  }
  return attacks;
}

}  // namespace ckpt::test
