#include "daemon/rpc/answer.h"
#include "daemon/rpc/service.h"
#include "proto/convert.h"
#include "proto/names.h"

namespace ckptd {

namespace v1 = ckpt::v1;

// Not AnswerOnce: the answer holds a secret, which is kept nowhere.
grpc::Status CheckpointsService::CreateToken(grpc::ServerContext* context,
                                             const v1::CreateTokenRequest* request,
                                             v1::CreateTokenResponse* response) {
  return Answer("CreateToken", guard_, context, request,
                [&](const Caller& caller, std::string& id) -> absl::Status {
                  ASSIGN_OR_RETURN(const ckpt::TokenSpec spec, ckpt::FromProto(*request));
                  ASSIGN_OR_RETURN(const RequestKey key,
                                   ReadRequestKey("CreateToken", *context, caller, *request));
                  ASSIGN_OR_RETURN(const Tokens::Made made,
                                   guard_.tokens()->Create(spec, caller.token_id, key.id));
                  *response->mutable_token() = ckpt::ToProto(made.token);
                  response->set_text(made.text);
                  id = made.token.id;
                  return absl::OkStatus();
                });
}

grpc::Status CheckpointsService::ListTokens(grpc::ServerContext* context,
                                            const v1::ListTokensRequest* request,
                                            v1::ListTokensResponse* response) {
  return Answer("ListTokens", guard_, context, request, [&](const Caller& caller) -> absl::Status {
    std::optional<std::string> project = caller.project;
    if (!request->project().empty()) {
      RETURN_IF_ERROR(ckpt::CheckName("project name", request->project()));
      project = request->project();
    }
    ASSIGN_OR_RETURN(const uint64_t before, ParsePageToken(request->page_token()));
    ASSIGN_OR_RETURN(const Tokens::Page page,
                     guard_.tokens()->List(project, request->include_ended(), before,
                                           PageSize(request->page_size())));
    for (const ckpt::Token& token : page.tokens) *response->add_tokens() = ckpt::ToProto(token);
    if (page.next != 0) response->set_next_page_token(std::to_string(page.next));
    return absl::OkStatus();
  });
}

// The same again has nothing left to do, so it needs no memory of its answer.
grpc::Status CheckpointsService::RevokeToken(grpc::ServerContext* context,
                                             const v1::RevokeTokenRequest* request,
                                             v1::RevokeTokenResponse* response) {
  return Answer("RevokeToken", guard_, context, request, [&]() -> absl::Status {
    ASSIGN_OR_RETURN(const ckpt::Token token, guard_.tokens()->Revoke(request->token_id()));
    *response->mutable_token() = ckpt::ToProto(token);
    return absl::OkStatus();
  });
}

}  // namespace ckptd
