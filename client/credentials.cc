#include "client/credentials.h"

#include <algorithm>
#include <cctype>

#include <fmt/format.h>

#include "proto/loopback.h"
#include "proto/names.h"

namespace ckpt {
namespace {

// A setting by its name in client.toml; the environment's is CKPTD_ and that in
// capitals.
class Sources {
 public:
  explicit Sources(const GetEnv& env) : env_(env), path_(SettingsPath(env)) {}

  absl::StatusOr<std::string> Find(const std::string& given, const std::string& name,
                                   std::string_view example) const {
    if (!given.empty()) return given;
    std::string variable = "CKPTD_" + name;
    std::transform(variable.begin(), variable.end(), variable.begin(),
                   [](unsigned char c) { return std::toupper(c); });
    if (auto value = env_(variable); value.has_value() && !value->empty()) return *value;
    ASSIGN_OR_RETURN(const std::optional<std::string> set, ReadSetting(path_, name, example));
    return set.value_or("");
  }

 private:
  const GetEnv& env_;
  const std::string path_;
};

absl::StatusOr<std::unique_ptr<TokenSource>> FindToken(const CredentialOptions& given,
                                                       const Sources& sources, const GetEnv& env) {
  if (!given.token.empty()) return TokenSource::Fixed(given.token, "the given token");
  if (given.token_file.empty()) {
    if (auto value = env("CKPTD_TOKEN"); value.has_value() && !value->empty()) {
      return TokenSource::Fixed(*value, "CKPTD_TOKEN");
    }
  }
  ASSIGN_OR_RETURN(const std::string path,
                   sources.Find(given.token_file, "token_file", "/path/to/token"));
  if (path.empty()) return TokenSource::Fixed("", "");
  return TokenSource::File(path);
}

}  // namespace

absl::StatusOr<Credentials> ResolveCredentials(const CredentialOptions& given,
                                               const std::string& address, const GetEnv& env) {
  const Sources sources(env);
  Credentials credentials;
  ASSIGN_OR_RETURN(credentials.token, FindToken(given, sources, env));
  ASSIGN_OR_RETURN(const std::string ca, sources.Find(given.tls.ca, "tls_ca", "/path/to/ca.pem"));
  ASSIGN_OR_RETURN(const std::string cert,
                   sources.Find(given.tls.cert, "tls_cert", "/path/to/cert.pem"));
  ASSIGN_OR_RETURN(const std::string key,
                   sources.Find(given.tls.key, "tls_key", "/path/to/key.pem"));
  std::optional<bool> on = given.tls.on;
  if (!on) {
    ASSIGN_OR_RETURN(const std::string word, sources.Find("", "tls", "on"));
    if (!word.empty() && word != "on" && word != "off") {
      return BadField("tls", fmt::format("tls is on or off, not \"{}\"", Printable(word)));
    }
    if (!word.empty()) on = word == "on";
  }
  const bool named = !ca.empty() || !cert.empty() || !key.empty();
  if (address.starts_with("unix:") || !on.value_or(named)) {
    if (!credentials.token->Current().empty() && !on.has_value() && !IsLoopback(address)) {
      return BadField("tls", fmt::format("the token would go to {} in the clear; say tls = \"on\" "
                                         "(CKPTD_TLS=on) or, on a network you trust, \"off\"",
                                         address));
    }
    credentials.channel = grpc::InsecureChannelCredentials();
    return credentials;
  }
  if (cert.empty() != key.empty()) {
    return BadField("tls_cert",
                    "tls_cert and tls_key go together: a certificate is of no use "
                    "without its key");
  }
  grpc::SslCredentialsOptions options;
  if (!ca.empty()) {
    ASSIGN_OR_RETURN(options.pem_root_certs, ReadNamedFile("tls_ca", ca));
  }
  if (!cert.empty()) {
    ASSIGN_OR_RETURN(options.pem_cert_chain, ReadNamedFile("tls_cert", cert));
    ASSIGN_OR_RETURN(options.pem_private_key, ReadNamedFile("tls_key", key));
  }
  credentials.channel = grpc::SslCredentials(options);
  return credentials;
}

}  // namespace ckpt
