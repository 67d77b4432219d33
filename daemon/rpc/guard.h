// The one place that every call passes before it is looked at: is there a token,
// is it good, may its role make this call, and is what the request names in its
// project. What is refused here is written down.
#pragma once

#include <string_view>

#include <google/protobuf/message.h>
#include <grpcpp/server_context.h>

#include "daemon/access/audit.h"
#include "daemon/access/rules.h"
#include "daemon/access/tokens.h"
#include "daemon/store/store.h"
#include "proto/status.h"

namespace ckptd {

// Thread-safe.
class Guard {
 public:
  // `tokens` is asked to recognize callers only if `asks`; all must outlive it.
  Guard(Store* store, Tokens* tokens, Audit* audit, bool asks)
      : store_(store), tokens_(tokens), audit_(audit), asks_(asks) {}

  Store* store() const { return store_; }
  Tokens* tokens() const { return tokens_; }

  // Who makes the call, if it may be made at all. UNAUTHENTICATED/TOKEN_MISSING
  // or TOKEN_INVALID; PERMISSION_DENIED/ROLE_TOO_LOW, or PROJECT_DENIED when the
  // request names a project that the token is not for, whether or not there is
  // such a project; NOT_FOUND, as if there were no such thing, for an id of
  // another project's.
  absl::StatusOr<Caller> Admit(std::string_view method, const grpc::ServerContextBase& context,
                               const google::protobuf::Message& request) const;

  // The two halves of it, for calls whose request comes later: who, and whether
  // the request is theirs to make.
  absl::StatusOr<Caller> Identify(std::string_view method,
                                  const grpc::ServerContextBase& context) const;
  absl::Status CheckNamed(std::string_view method, const grpc::ServerContextBase& context,
                          const Caller& caller, const google::protobuf::Message& request) const;

  // Writes down what an admitted call came to, if its rule wants that. `made`: the
  // id of what it made.
  void Record(std::string_view method, const grpc::ServerContextBase& context, const Caller& caller,
              const google::protobuf::Message& request, const std::string& made,
              const absl::Status& outcome) const;

 private:
  absl::StatusOr<Caller> CallerOf(const grpc::ServerContextBase& context) const;
  absl::Status CheckRole(std::string_view method, const Caller& caller) const;
  absl::Status CheckOwner(const Rule& rule, const Caller& caller,
                          const google::protobuf::Message& request) const;
  absl::Status CheckProject(const Caller& caller, std::string_view project) const;
  absl::Status CheckForAll(std::string_view what, const Caller& caller) const;

  Store* const store_;
  Tokens* const tokens_;
  Audit* const audit_;
  const bool asks_;
};

}  // namespace ckptd
