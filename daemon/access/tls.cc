#include "daemon/access/tls.h"

#include <cerrno>
#include <cstring>
#include <memory>

#include <fmt/format.h>
#include <grpcpp/security/tls_certificate_provider.h>
#include <grpcpp/security/tls_credentials_options.h>
#include <openssl/err.h>
#include <openssl/pem.h>

#include "daemon/access/openssl.h"
#include "proto/names.h"

namespace ckptd {
namespace {

constexpr unsigned int kLookIntervalSeconds = 2;

using openssl::Bio;
using openssl::Certificate;
using openssl::Key;

absl::Status BadFile(const char* setting, const std::string& path, std::string_view what) {
  return ckpt::BadField(setting,
                        fmt::format("{}: {} {}", setting, ckpt::Printable(path, 400), what));
}

absl::StatusOr<Bio> Open(const char* setting, const std::string& path) {
  errno = 0;
  Bio bio(BIO_new_file(path.c_str(), "r"));
  ERR_clear_error();
  if (bio != nullptr) return bio;
  return BadFile(
      setting, path,
      fmt::format("cannot be read: {}", errno != 0 ? std::strerror(errno) : "it is no file"));
}

// The first certificate of the file.
absl::StatusOr<Certificate> ReadCertificate(const char* setting, const std::string& path) {
  ASSIGN_OR_RETURN(const Bio bio, Open(setting, path));
  Certificate certificate(PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr));
  ERR_clear_error();
  if (certificate == nullptr) return BadFile(setting, path, "holds no certificate in PEM form");
  if (X509_cmp_current_time(X509_get0_notBefore(certificate.get())) > 0) {
    return BadFile(setting, path, "is not valid yet; is the clock right?");
  }
  if (X509_cmp_current_time(X509_get0_notAfter(certificate.get())) < 0) {
    return BadFile(setting, path, "has expired; put a new one in its place");
  }
  return certificate;
}

absl::StatusOr<Key> ReadKey(const char* setting, const std::string& path) {
  ASSIGN_OR_RETURN(const Bio bio, Open(setting, path));
  // A daemon has nobody to ask for a passphrase.
  bool encrypted = false;
  const auto ask = [](char*, int, int, void* asked) {
    *static_cast<bool*>(asked) = true;
    return -1;
  };
  Key key(PEM_read_bio_PrivateKey(bio.get(), nullptr, ask, &encrypted));
  ERR_clear_error();
  if (key != nullptr) return key;
  return BadFile(setting, path,
                 encrypted ? "is encrypted; give a key without a passphrase"
                           : "holds no private key in PEM form");
}

}  // namespace

absl::Status CheckTlsFiles(const TlsFiles& files) {
  if (files.cert.empty() || files.key.empty()) {
    return ckpt::BadField("tls-cert", "TLS takes both tls-cert and tls-key");
  }
  ASSIGN_OR_RETURN(const Certificate certificate, ReadCertificate("tls-cert", files.cert));
  ASSIGN_OR_RETURN(const Key key, ReadKey("tls-key", files.key));
  const bool belongs = X509_check_private_key(certificate.get(), key.get()) == 1;
  ERR_clear_error();
  if (!belongs) {
    return BadFile(
        "tls-key", files.key,
        fmt::format("is not the key of the certificate in {}", ckpt::Printable(files.cert, 400)));
  }
  if (files.client_ca.empty()) return absl::OkStatus();
  return ReadCertificate("tls-client-ca", files.client_ca).status();
}

std::shared_ptr<grpc::ServerCredentials> NewTlsCredentials(const TlsFiles& files) {
  auto provider = std::make_shared<grpc::experimental::FileWatcherCertificateProvider>(
      files.key, files.cert, files.client_ca, kLookIntervalSeconds);
  grpc::experimental::TlsServerCredentialsOptions options(std::move(provider));
  options.watch_identity_key_cert_pairs();
  if (!files.client_ca.empty()) {
    options.watch_root_certs();
    options.set_cert_request_type(GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY);
  }
  return grpc::experimental::TlsServerCredentials(options);
}

}  // namespace ckptd
