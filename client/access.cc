// The calls of Client about tokens and quotas.
#include "client/call.h"
#include "client/client.h"
#include "proto/convert.h"
#include "proto/limits.h"

namespace ckpt {
namespace {

using Stub = v1::Checkpoints::Stub;

}  // namespace

absl::StatusOr<NewToken> Client::CreateToken(const TokenSpec& spec) {
  ASSIGN_OR_RETURN(const v1::CreateTokenResponse response, Call(&Stub::CreateToken, ToProto(spec)));
  return NewToken{.token = FromProto(response.token()), .text = response.text()};
}

absl::StatusOr<std::vector<Token>> Client::ListTokens(const std::string& project,
                                                      bool include_ended) {
  v1::ListTokensRequest request;
  request.set_project(project);
  request.set_include_ended(include_ended);
  request.set_page_size(kMaxPageSize);
  std::vector<Token> tokens;
  while (true) {
    ASSIGN_OR_RETURN(const v1::ListTokensResponse response, Call(&Stub::ListTokens, request));
    for (const v1::Token& token : response.tokens()) tokens.push_back(FromProto(token));
    if (response.next_page_token().empty()) return tokens;
    request.set_page_token(response.next_page_token());
  }
}

absl::StatusOr<Token> Client::RevokeToken(const std::string& id) {
  v1::RevokeTokenRequest request;
  request.set_token_id(id);
  ASSIGN_OR_RETURN(const v1::RevokeTokenResponse response, Call(&Stub::RevokeToken, request));
  return FromProto(response.token());
}

absl::StatusOr<Quota> Client::GetQuota(const std::string& project) {
  v1::GetQuotaRequest request;
  request.set_project(project);
  ASSIGN_OR_RETURN(const v1::GetQuotaResponse response, Call(&Stub::GetQuota, request));
  return FromProto(response.quota());
}

absl::StatusOr<Quota> Client::SetQuota(const std::string& project, const QuotaChange& change) {
  ASSIGN_OR_RETURN(const v1::SetQuotaResponse response,
                   Call(&Stub::SetQuota, ToProto(project, change)));
  return FromProto(response.quota());
}

}  // namespace ckpt
