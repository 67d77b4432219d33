#include <fmt/format.h>

#include "daemon/rpc/answer.h"
#include "daemon/rpc/service.h"
#include "proto/convert.h"
#include "proto/limits.h"
#include "proto/names.h"

namespace ckptd {

namespace v1 = ckpt::v1;

grpc::Status CheckpointsService::Resume(grpc::ServerContext* context,
                                        const v1::ResumeRequest* request,
                                        v1::ResumeResponse* response) {
  return Answer("Resume", guard_, context, request, [&]() -> absl::Status {
    ASSIGN_OR_RETURN(ckpt::RunName run, ckpt::FromProto(request->run()));
    ASSIGN_OR_RETURN(ckpt::Selector selector, ckpt::FromProto(request->selector()));
    std::optional<ckpt::RunName> from_run;
    if (request->has_from_run()) {
      ASSIGN_OR_RETURN(from_run, ckpt::FromProto(request->from_run()));
    }
    ASSIGN_OR_RETURN(Store::ResumeAnswer answer,
                     store_->Resume(run, request->attempt(), request->rank(), selector,
                                    request->require_resume(), from_run));
    response->set_outcome(static_cast<v1::ResumeResponse::Outcome>(answer.outcome));
    response->set_explanation(answer.explanation);
    if (answer.checkpoint) *response->mutable_checkpoint() = ckpt::ToProto(*answer.checkpoint);
    response->set_ticket_id(answer.ticket_id);
    *response->mutable_ticket_expires_at() = ckpt::ToProto(answer.expires_at);
    return absl::OkStatus();
  });
}

grpc::Status CheckpointsService::ReportLoad(grpc::ServerContext* context,
                                            const v1::ReportLoadRequest* request,
                                            v1::ReportLoadResponse* response) {
  return AnswerOnce<Done>(
      "ReportLoad", guard_, context, request, response, Empty<v1::ReportLoadResponse>,
      [&](const Once<Done>& once) -> absl::StatusOr<Done> {
        const std::string error = ckpt::Printable(request->error(), ckpt::kMaxErrorTextBytes);
        RETURN_IF_ERROR(store_->ReportLoad(request->ticket_id(), request->rank(), request->ok(),
                                           error, request->checkpoint_at_fault(), once));
        return Done{};
      });
}

grpc::Status CheckpointsService::Rewind(grpc::ServerContext* context,
                                        const v1::RewindRequest* request,
                                        v1::RewindResponse* response) {
  return AnswerOnce<ckpt::Run>(
      "Rewind", guard_, context, request, response,
      [](const ckpt::Run& run) {
        v1::RewindResponse rewound;
        *rewound.mutable_run() = ckpt::ToProto(run);
        return rewound;
      },
      [&](const Once<ckpt::Run>& once) -> absl::StatusOr<ckpt::Run> {
        ASSIGN_OR_RETURN(ckpt::RunName run, ckpt::FromProto(request->run()));
        return store_->Rewind(run, request->checkpoint_id(), once);
      });
}

}  // namespace ckptd
