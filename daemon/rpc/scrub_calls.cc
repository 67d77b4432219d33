#include <fmt/format.h>

#include "daemon/rpc/answer.h"
#include "daemon/rpc/service.h"
#include "proto/convert.h"
#include "proto/limits.h"
#include "proto/names.h"

namespace ckptd {

namespace v1 = ckpt::v1;

grpc::Status CheckpointsService::GetScrub(grpc::ServerContext* context,
                                          const v1::GetScrubRequest* request,
                                          v1::GetScrubResponse* response) {
  return Answer("GetScrub", guard_, context, request, [&]() -> absl::Status {
    ASSIGN_OR_RETURN(const ckpt::Scrub scrub, store_->GetScrub());
    *response->mutable_scrub() = ckpt::ToProto(scrub);
    return absl::OkStatus();
  });
}

grpc::Status CheckpointsService::StartScrub(grpc::ServerContext* context,
                                            const v1::StartScrubRequest* request,
                                            v1::StartScrubResponse* response) {
  return Answer("StartScrub", guard_, context, request, [&]() -> absl::Status {
    ASSIGN_OR_RETURN(const ckpt::Scrub scrub, store_->StartScrub());
    *response->mutable_scrub() = ckpt::ToProto(scrub);
    return absl::OkStatus();
  });
}

grpc::Status CheckpointsService::Verify(grpc::ServerContext* context,
                                        const v1::VerifyRequest* request,
                                        grpc::ServerWriter<v1::VerifyResponse>* writer) {
  return Answer("Verify", guard_, context, request, [&]() -> absl::Status {
    std::optional<Store::VerifyPosition> after;
    if (request->has_after()) {
      ASSIGN_OR_RETURN(ckpt::RunName run, ckpt::FromProto(request->after().run()));
      after = {std::move(run), request->after().checkpoint_id()};
    }
    uint64_t reported = 0, positioned = 0;
    v1::VerifyResponse message;
    auto report = [&](const Store::VerifyProgress& progress) {
      message.Clear();
      message.set_bytes_done(progress.bytes_done);
      message.set_bytes_total(progress.bytes_total);
      message.set_chunks_done(progress.chunks_done);
      for (const auto& damage : progress.damages) {
        v1::Damage& out = *message.add_damages();
        *out.mutable_run() = ckpt::ToProto(damage.run);
        out.set_checkpoint_id(damage.checkpoint_id);
        out.set_step(damage.step);
        out.set_rank(damage.rank);
        out.set_entry(damage.entry);
        out.set_text(damage.text);
      }
      // A message every 64 MiB is progress enough, and so is a position.
      const uint64_t before = progress.position ? positioned : reported;
      bool due = progress.bytes_done - before >= (64u << 20) || !progress.damages.empty();
      if (!due) return !context->IsCancelled();
      reported = progress.bytes_done;
      if (progress.position) {
        positioned = progress.bytes_done;
        *message.mutable_position()->mutable_run() = ckpt::ToProto(progress.position->run);
        message.mutable_position()->set_checkpoint_id(progress.position->checkpoint_id);
      }
      return writer->Write(message);
    };
    if (request->all_runs()) {
      const std::string& project = request->run().project();
      if (request->checkpoint_id() != 0 || !request->run().run().empty()) {
        return ckpt::BadField("all_runs", "all runs are asked for, but one is named too");
      }
      if (!project.empty()) RETURN_IF_ERROR(ckpt::CheckName("project name", project));
      RETURN_IF_ERROR(store_->VerifyAll(
          request->has_run() && project.empty() ? ckpt::kDefaultProject : project, report, after));
    } else {
      ASSIGN_OR_RETURN(ckpt::RunName run, ckpt::FromProto(request->run()));
      RETURN_IF_ERROR(store_->Verify(run, request->checkpoint_id(), report, after));
    }
    message.clear_damages();
    message.clear_position();
    message.set_done(true);
    if (!writer->Write(message)) return absl::CancelledError("the client is gone");
    return absl::OkStatus();
  });
}

}  // namespace ckptd
