// TLS: the daemon's certificate, and whose certificates it trusts.
#pragma once

#include <memory>
#include <string>

#include <grpcpp/security/server_credentials.h>

#include "proto/status.h"

namespace ckptd {

// Paths of PEM files.
struct TlsFiles {
  std::string cert, key;  // both empty: no TLS
  std::string client_ca;  // not empty: clients must show a certificate that it signed

  bool on() const { return !cert.empty() || !key.empty() || !client_ca.empty(); }
};

// INVALID_ARGUMENT in one sentence for what could not be served with: a file that
// cannot be read or is no PEM, a key that is encrypted or another certificate's, a
// certificate that is not valid now.
absl::Status CheckTlsFiles(const TlsFiles& files);

// TLS 1.2 or newer. The files are looked at again every few seconds: a connection
// made after they changed is served with the new ones. A certificate and its key
// are to be replaced in one go (a symbolic link to their folder): until they
// belong together no new connection comes about.
std::shared_ptr<grpc::ServerCredentials> NewTlsCredentials(const TlsFiles& files);

}  // namespace ckptd
