// The calls of Client that have stored bytes compared.
#include "client/call.h"
#include "client/client.h"
#include "proto/convert.h"

namespace ckpt {
namespace {

using Stub = v1::Checkpoints::Stub;

}  // namespace

absl::StatusOr<VerifyResult> Client::Verify(
    const RunName& run, uint64_t checkpoint_id,
    const std::function<void(const VerifyProgress&)>& progress) {
  v1::VerifyRequest request;
  *request.mutable_run() = ToProto(run);
  request.set_checkpoint_id(checkpoint_id);
  return Verify(request, progress);
}

absl::StatusOr<VerifyResult> Client::VerifyAll(
    const std::string& project, const std::function<void(const VerifyProgress&)>& progress) {
  v1::VerifyRequest request;
  request.set_all_runs(true);
  if (!project.empty()) request.mutable_run()->set_project(project);
  return Verify(request, progress);
}

absl::StatusOr<VerifyResult> Client::Verify(
    const v1::VerifyRequest& request, const std::function<void(const VerifyProgress&)>& progress) {
  Retry retry(options_.retry, options_.world);
  while (true) {
    grpc::ClientContext context;
    Authorize(context);
    auto reader = stub_->Verify(&context, request);
    VerifyResult result;
    bool done = false, shown = false;
    v1::VerifyResponse response;
    while (reader->Read(&response)) {
      VerifyProgress step{.bytes_done = response.bytes_done(),
                          .bytes_total = response.bytes_total(),
                          .chunks_done = response.chunks_done()};
      for (const v1::Damage& damage : response.damages()) {
        step.damages.push_back({.run = {damage.run().project(), damage.run().run()},
                                .checkpoint_id = damage.checkpoint_id(),
                                .step = damage.step(),
                                .rank = damage.rank(),
                                .entry = damage.entry(),
                                .text = damage.text()});
      }
      result.bytes = step.bytes_done;
      result.chunks = step.chunks_done;
      result.damages.insert(result.damages.end(), step.damages.begin(), step.damages.end());
      done = response.done();
      shown = true;
      if (progress) progress(step);
    }
    absl::Status status = FromGrpc(reader->Finish());
    if (status.ok() && done) return result;
    if (status.ok()) status = absl::UnavailableError("the stream ended before it was done");
    if (shown || !retry.Again(status)) return Translate(status);
  }
}

absl::StatusOr<Scrub> Client::GetScrub() {
  ASSIGN_OR_RETURN(const v1::GetScrubResponse response,
                   Call(&Stub::GetScrub, v1::GetScrubRequest()));
  return FromProto(response.scrub());
}

absl::StatusOr<Scrub> Client::StartScrub() {
  ASSIGN_OR_RETURN(const v1::StartScrubResponse response,
                   Call(&Stub::StartScrub, v1::StartScrubRequest()));
  return FromProto(response.scrub());
}

}  // namespace ckpt
