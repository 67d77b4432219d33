// How a client says who it is, and makes sure whom it talks to: its token, and
// TLS.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include <grpcpp/security/credentials.h>

#include "client/settings.h"
#include "client/token.h"
#include "proto/status.h"

namespace ckpt {

// What is empty comes from the environment (CKPTD_TLS, CKPTD_TLS_CA, ...), then
// from client.toml (tls, tls_ca, ...). Files are PEM.
struct TlsOptions {
  // Absent: on as soon as one of the files is named.
  std::optional<bool> on;
  std::string ca;         // who may have signed the daemon's certificate; empty: the system's
  std::string cert, key;  // the client's own, where the daemon asks for one
};

struct CredentialOptions {
  // "ckpt_ID_SECRET"; empty: CKPTD_TOKEN, then the file.
  std::string token;
  // A file that holds it and nothing else, read again when it changes (token.h);
  // empty: CKPTD_TOKEN_FILE, then `token_file` of client.toml. Where none is named
  // there is no token.
  std::string token_file;
  TlsOptions tls;
};

struct Credentials {
  std::shared_ptr<TokenSource> token;  // never null
  std::shared_ptr<grpc::ChannelCredentials> channel;
};

// INVALID_ARGUMENT in one sentence, which holds no token, for a file that cannot
// be read or holds something else. A token is not sent in the clear to another
// machine unless TLS is off on purpose. Unix sockets never have TLS.
absl::StatusOr<Credentials> ResolveCredentials(const CredentialOptions& given,
                                               const std::string& address, const GetEnv& env);

}  // namespace ckpt
