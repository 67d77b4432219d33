// ckpt.v1.Checkpoints over a Store: parse and check, one call to the store,
// convert. By subject: push_calls.cc, resume_calls.cc, looking_calls.cc,
// scrub_calls.cc, keeping_calls.cc, budget_calls.cc, quota_calls.cc, token_calls.cc,
// push_stream.cc, fetch_stream.cc, backup_stream.cc. What may be called by whom: guard.h.
#pragma once

#include "ckpt/v1/service.grpc.pb.h"
#include "daemon/rpc/byte_streams.h"
#include "daemon/rpc/guard.h"
#include "daemon/store/store.h"

namespace ckptd {

using RawService = ckpt::v1::Checkpoints::WithRawCallbackMethod_PushChunks<
    ckpt::v1::Checkpoints::WithRawCallbackMethod_FetchChunks<
        ckpt::v1::Checkpoints::WithRawCallbackMethod_BackUpCatalog<
            ckpt::v1::Checkpoints::Service>>>;

// Thread-safe. `guard` must outlive it, and it the server.
class CheckpointsService final : public RawService {
 public:
  // Bulk streams on which nothing moves for `idle_timeout` are ended.
  CheckpointsService(const Guard& guard, absl::Duration idle_timeout)
      : guard_(guard), store_(guard.store()), idle_timeout_(idle_timeout), threads_(kMaxStreams) {}

  // The names of all calls, as they are counted.
  static std::vector<std::string> MethodNames();

  // Bulk streams under way.
  int streams() { return threads_.running(); }

  // Bulk streams at a time: pushes, fetches and backups together.
  static constexpr int kMaxStreams = 256;

#define CKPT_CALL(Name)                                                                     \
  grpc::Status Name(grpc::ServerContext* context, const ckpt::v1::Name##Request* request,   \
                    ckpt::v1::Name##Response* response) override

  CKPT_CALL(OpenAttempt);
  CKPT_CALL(OpenUpload);
  CKPT_CALL(CommitShard);
  CKPT_CALL(AbortUpload);
  CKPT_CALL(AttachMetrics);

  CKPT_CALL(Resume);
  CKPT_CALL(ReportLoad);
  CKPT_CALL(Rewind);

  CKPT_CALL(Resolve);
  CKPT_CALL(GetManifest);
  CKPT_CALL(ListRuns);
  CKPT_CALL(GetRun);
  CKPT_CALL(ListCheckpoints);
  CKPT_CALL(GetCheckpoint);
  CKPT_CALL(ListEvents);
  CKPT_CALL(GetStats);
  grpc::Status Verify(grpc::ServerContext* context, const ckpt::v1::VerifyRequest* request,
                      grpc::ServerWriter<ckpt::v1::VerifyResponse>* writer) override;

  CKPT_CALL(GetScrub);
  CKPT_CALL(StartScrub);

  CKPT_CALL(GetPolicy);
  CKPT_CALL(SetPolicy);
  CKPT_CALL(Prune);
  CKPT_CALL(GetBudget);
  CKPT_CALL(SetBudget);
  CKPT_CALL(DeleteCheckpoints);
  CKPT_CALL(DeleteRun);
  CKPT_CALL(RestoreCheckpoint);
  CKPT_CALL(Pin);
  CKPT_CALL(Unpin);
  CKPT_CALL(SetAlias);
  CKPT_CALL(DeleteAlias);

  CKPT_CALL(GetQuota);
  CKPT_CALL(SetQuota);
  CKPT_CALL(CreateToken);
  CKPT_CALL(ListTokens);
  CKPT_CALL(RevokeToken);
#undef CKPT_CALL

  grpc::ServerReadReactor<grpc::ByteBuffer>* PushChunks(grpc::CallbackServerContext* context,
                                                        grpc::ByteBuffer* response) override;
  grpc::ServerWriteReactor<grpc::ByteBuffer>* FetchChunks(grpc::CallbackServerContext* context,
                                                          const grpc::ByteBuffer* request) override;
  grpc::ServerWriteReactor<grpc::ByteBuffer>* BackUpCatalog(
      grpc::CallbackServerContext* context, const grpc::ByteBuffer* request) override;

 private:
  const Guard& guard_;
  Store* const store_;
  const absl::Duration idle_timeout_;
  StreamThreads threads_;
};

}  // namespace ckptd
