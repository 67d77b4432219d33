// A daemon in memory: enough of ckpt.v1 to push to and fetch from, with
// switches for what goes wrong. Its state outlives Stop and Start, as a
// restarted daemon's does.
#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include <absl/synchronization/mutex.h>
#include <grpcpp/grpcpp.h>

#include "ckpt/v1/service.grpc.pb.h"
#include "client/client.h"
#include "proto/channel.h"
#include "proto/convert.h"

namespace ckpt {

class FakeDaemon : public v1::Checkpoints::Service {
 public:
  FakeDaemon() { Start(); }
  ~FakeDaemon() override { Stop(); }

  void Start() {
    grpc::ServerBuilder builder;
    TuneServer(builder);
    int chosen = 0;
    builder.AddListeningPort("127.0.0.1:" + std::to_string(port_),
                             grpc::InsecureServerCredentials(), &chosen);
    builder.RegisterService(this);
    server_ = builder.BuildAndStart();
    if (server_ != nullptr) port_ = chosen;
  }
  // Breaks what is under way, as a killed daemon does.
  void Stop() {
    if (server_ == nullptr) return;
    server_->Shutdown(std::chrono::system_clock::now());
    server_->Wait();
    server_.reset();
  }

  // Retries at once, for as long as a test may take.
  ClientOptions options() const {
    ClientOptions options;
    options.address = "127.0.0.1:" + std::to_string(port_);
    options.retry.initial_backoff = absl::Milliseconds(1);
    options.retry.max_backoff = absl::Milliseconds(20);
    options.retry.window = absl::Seconds(30);
    return options;
  }
  std::unique_ptr<Client> Connect() const { return *Client::Connect(options()); }

  // ---- Switches; set them before the calls they are for -----------------------
  std::atomic<int> break_push_after{-1};   // frames; then UNAVAILABLE, once
  std::atomic<int> break_fetch_after{-1};  // frames; then UNAVAILABLE, once
  std::atomic<int> fetch_damaged{0};       // so many frames come with a wrong byte
  std::atomic<int> refuse_calls{0};        // so many unary calls are UNAVAILABLE
  // What CommitShard answers instead, while set.
  void set_commit_error(absl::Status status) {
    absl::MutexLock lock(&mutex_);
    commit_error_ = std::move(status);
  }
  // CommitShard waits while closed.
  void set_gate(bool open) {
    absl::MutexLock lock(&mutex_);
    gate_open_ = open;
  }

  // ---- What was seen ------------------------------------------------------------
  uint64_t chunks_received() const { return chunks_received_; }
  std::vector<uint64_t> committed_steps() const {
    absl::MutexLock lock(&mutex_);
    std::vector<uint64_t> steps;
    for (const Shard& shard : shards_) steps.push_back(shard.step);
    return steps;
  }
  // Of OpenAttempt, in order, one a try.
  std::vector<std::string> request_ids() const {
    absl::MutexLock lock(&mutex_);
    return request_ids_;
  }
  std::vector<v1::ReportLoadRequest> reports() const {
    absl::MutexLock lock(&mutex_);
    return reports_;
  }
  std::vector<v1::FetchChunksRequest> fetches() const {
    absl::MutexLock lock(&mutex_);
    return fetches_;
  }

  // ---- ckpt.v1 ------------------------------------------------------------------
  grpc::Status OpenAttempt(grpc::ServerContext* context, const v1::OpenAttemptRequest* request,
                           v1::OpenAttemptResponse* response) override {
    NoteRequestId(*context);
    if (auto status = Refused(); !status.ok()) return status;
    response->mutable_attempt()->set_number(++attempts_);
    response->mutable_attempt()->set_launch_id(request->launch_id());
    response->mutable_attempt()->set_world_size(request->world_size());
    response->mutable_run()->set_name(request->run().run());
    return grpc::Status::OK;
  }

  grpc::Status OpenUpload(grpc::ServerContext*, const v1::OpenUploadRequest* request,
                          v1::OpenUploadResponse* response) override {
    if (auto status = Refused(); !status.ok()) return status;
    absl::StatusOr<Manifest> manifest = FromProto(request->manifest());
    if (!manifest.ok()) return ToGrpc(manifest.status());
    absl::MutexLock lock(&mutex_);
    for (const Shard& shard : shards_) {
      if (shard.step == request->step()) {
        *response->mutable_result() = Committed(shard);
        return grpc::Status::OK;
      }
    }
    response->set_upload_id("upload-" + std::to_string(request->step()));
    for (size_t i = 0; i < manifest->chunks.size(); ++i) {
      if (chunks_.contains(manifest->chunks[i].digest)) continue;
      response->add_missing_chunks(i);
      response->set_missing_bytes(response->missing_bytes() + manifest->chunks[i].length);
    }
    uploads_[response->upload_id()] = {.step = request->step(), .manifest = *std::move(manifest)};
    return grpc::Status::OK;
  }

  grpc::Status PushChunks(grpc::ServerContext*, grpc::ServerReader<v1::ChunkFrame>* reader,
                          v1::PushChunksResponse* response) override {
    v1::ChunkFrame frame;
    std::string upload_id;
    while (reader->Read(&frame)) {
      if (!frame.upload_id().empty()) upload_id = frame.upload_id();
      if (frame.end()) return grpc::Status::OK;
      if (break_push_after == 0) {
        break_push_after = -1;
        return {grpc::StatusCode::UNAVAILABLE, "the line broke"};
      }
      if (break_push_after > 0) --break_push_after;
      absl::MutexLock lock(&mutex_);
      const auto upload = uploads_.find(upload_id);
      if (upload == uploads_.end()) {
        return ToGrpc(MakeError(absl::StatusCode::kNotFound, reason::kUploadNotFound, "unknown"));
      }
      const Digest digest = HashBytes(frame.data());
      if (digest != upload->second.manifest.chunks.at(frame.chunk_index()).digest) {
        return ToGrpc(MakeError(absl::StatusCode::kInvalidArgument, reason::kDigestMismatch,
                                "the bytes are not those of the digest"));
      }
      chunks_[digest] = frame.data();
      ++chunks_received_;
      response->set_chunks(response->chunks() + 1);
    }
    return {grpc::StatusCode::CANCELLED, "broken"};
  }

  grpc::Status CommitShard(grpc::ServerContext* context, const v1::CommitShardRequest* request,
                           v1::CommitShardResponse* response) override {
    absl::MutexLock lock(&mutex_);
    while (!gate_open_ && !context->IsCancelled()) {
      mutex_.AwaitWithTimeout(absl::Condition(&gate_open_), absl::Milliseconds(5));
    }
    if (!gate_open_) return grpc::Status::CANCELLED;
    if (!commit_error_.ok()) return ToGrpc(commit_error_);
    const auto upload = uploads_.find(request->upload_id());
    if (upload == uploads_.end()) {
      return ToGrpc(MakeError(absl::StatusCode::kNotFound, reason::kUploadNotFound, "unknown"));
    }
    for (const Chunk& chunk : upload->second.manifest.chunks) {
      if (!chunks_.contains(chunk.digest)) {
        return ToGrpc(MakeError(absl::StatusCode::kFailedPrecondition, reason::kChunksMissing,
                                "chunks are missing"));
      }
    }
    shards_.push_back(upload->second);
    shards_.back().id = shards_.size();
    *response = Committed(shards_.back());
    return grpc::Status::OK;
  }

  grpc::Status Resume(grpc::ServerContext*, const v1::ResumeRequest* request,
                      v1::ResumeResponse* response) override {
    if (auto status = Refused(); !status.ok()) return status;
    absl::MutexLock lock(&mutex_);
    if (shards_.empty()) {
      if (request->require_resume()) {
        return ToGrpc(MakeError(absl::StatusCode::kFailedPrecondition, reason::kResumeRequired,
                                "nothing was ever committed"));
      }
      response->set_outcome(v1::ResumeResponse::NEW_RUN);
      return grpc::Status::OK;
    }
    response->set_outcome(v1::ResumeResponse::FOUND);
    *response->mutable_checkpoint() = Committed(shards_.back()).checkpoint();
    response->set_ticket_id("ticket");
    return grpc::Status::OK;
  }

  grpc::Status ReportLoad(grpc::ServerContext*, const v1::ReportLoadRequest* request,
                          v1::ReportLoadResponse*) override {
    absl::MutexLock lock(&mutex_);
    reports_.push_back(*request);
    return grpc::Status::OK;
  }

  grpc::Status GetManifest(grpc::ServerContext*, const v1::GetManifestRequest* request,
                           v1::GetManifestResponse* response) override {
    absl::MutexLock lock(&mutex_);
    *response->mutable_manifest() = ToProto(shards_.at(request->checkpoint_id() - 1).manifest);
    return grpc::Status::OK;
  }

  grpc::Status FetchChunks(grpc::ServerContext*, const v1::FetchChunksRequest* request,
                           grpc::ServerWriter<v1::ChunkFrame>* writer) override {
    Manifest manifest;
    {
      absl::MutexLock lock(&mutex_);
      fetches_.push_back(*request);
      manifest = shards_.at(request->checkpoint_id() - 1).manifest;
    }
    for (const uint32_t index : request->chunks()) {
      if (break_fetch_after == 0) {
        break_fetch_after = -1;
        return {grpc::StatusCode::UNAVAILABLE, "the line broke"};
      }
      if (break_fetch_after > 0) --break_fetch_after;
      v1::ChunkFrame frame;
      frame.set_chunk_index(index);
      {
        absl::MutexLock lock(&mutex_);
        frame.set_data(chunks_.at(manifest.chunks.at(index).digest));
      }
      if (fetch_damaged > 0) {
        --fetch_damaged;
        (*frame.mutable_data())[0] ^= 1;
      }
      if (!writer->Write(frame)) return grpc::Status::CANCELLED;
    }
    v1::ChunkFrame end;
    end.set_end(true);
    writer->Write(end);
    return grpc::Status::OK;
  }

  // Two runs a page, five in all.
  grpc::Status ListRuns(grpc::ServerContext*, const v1::ListRunsRequest* request,
                        v1::ListRunsResponse* response) override {
    const int first = request->page_token().empty() ? 0 : std::stoi(request->page_token());
    for (int i = first; i < std::min(first + 2, 5); ++i) {
      response->add_runs()->set_name("run-" + std::to_string(i));
    }
    if (first + 2 < 5) response->set_next_page_token(std::to_string(first + 2));
    return grpc::Status::OK;
  }

 private:
  struct Shard {
    uint64_t step = 0;
    Manifest manifest;
    uint64_t id = 0;
  };

  grpc::Status Refused() {
    if (refuse_calls <= 0) return grpc::Status::OK;
    --refuse_calls;
    return {grpc::StatusCode::UNAVAILABLE, "refused"};
  }
  void NoteRequestId(const grpc::ServerContext& context) {
    const auto found = context.client_metadata().find(kRequestIdHeader);
    if (found == context.client_metadata().end()) return;
    absl::MutexLock lock(&mutex_);
    request_ids_.emplace_back(found->second.data(), found->second.size());
  }
  static v1::CommitShardResponse Committed(const Shard& shard) {
    v1::CommitShardResponse response;
    response.set_shards_durable(1);
    response.set_world_size(1);
    response.mutable_checkpoint()->set_id(shard.id);
    response.mutable_checkpoint()->set_step(shard.step);
    response.mutable_checkpoint()->set_world_size(1);
    return response;
  }

  std::unique_ptr<grpc::Server> server_;
  int port_ = 0;
  std::atomic<uint64_t> attempts_{0}, chunks_received_{0};
  mutable absl::Mutex mutex_;
  bool gate_open_ = true;
  absl::Status commit_error_;
  std::map<std::string, Shard> uploads_;
  std::vector<Shard> shards_;
  std::map<Digest, std::string> chunks_;
  std::vector<std::string> request_ids_;
  std::vector<v1::ReportLoadRequest> reports_;
  std::vector<v1::FetchChunksRequest> fetches_;
};

}  // namespace ckpt
