// The calls of Client that have stored bytes compared.
#include "client/call.h"
#include "client/client.h"
#include "proto/convert.h"

namespace ckpt {
namespace {

using Stub = v1::Checkpoints::Stub;

Damage FromProto(const v1::Damage& damage) {
  return {.run = {damage.run().project(), damage.run().run()},
          .checkpoint_id = damage.checkpoint_id(),
          .step = damage.step(),
          .rank = damage.rank(),
          .entry = damage.entry(),
          .text = damage.text()};
}

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
  v1::VerifyRequest rest = request;
  VerifyResult behind;  // what was found up to rest.after()
  while (true) {
    grpc::ClientContext context;
    const std::string token = CurrentToken();
    Authorize(context);
    auto reader = stub_->Verify(&context, rest);
    const VerifyResult before = behind;
    VerifyResult result = before;
    bool done = false;
    v1::VerifyResponse response;
    while (reader->Read(&response)) {
      VerifyProgress step{.bytes_done = before.bytes + response.bytes_done(),
                          .bytes_total = before.bytes + response.bytes_total(),
                          .chunks_done = before.chunks + response.chunks_done()};
      for (const v1::Damage& damage : response.damages()) {
        step.damages.push_back(FromProto(damage));
      }
      result.bytes = step.bytes_done;
      result.chunks = step.chunks_done;
      result.damages.insert(result.damages.end(), step.damages.begin(), step.damages.end());
      done = response.done();
      if (response.has_position()) {
        *rest.mutable_after() = response.position();
        behind = result;
        retry.Progressed();
      }
      if (progress) progress(step);
    }
    absl::Status status = FromGrpc(reader->Finish());
    if (status.ok() && done) return result;
    if (status.ok()) status = absl::UnavailableError("the stream ended before it was done");
    const bool again = TokenWasReplaced(status, token) ? retry.AgainAnyway() : retry.Again(status);
    if (!again) return Translate(status);
  }
}

absl::StatusOr<Scrub> Client::GetScrub() {
  ASSIGN_OR_RETURN(const v1::GetScrubResponse response,
                   Call(&Stub::GetScrub, v1::GetScrubRequest()));
  return ckpt::FromProto(response.scrub());
}

absl::StatusOr<Scrub> Client::StartScrub() {
  ASSIGN_OR_RETURN(const v1::StartScrubResponse response,
                   Call(&Stub::StartScrub, v1::StartScrubRequest()));
  return ckpt::FromProto(response.scrub());
}

}  // namespace ckpt
