// Connections that are no good TLS, or not by who may connect.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <openssl/ssl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <fmt/format.h>
#include <grpcpp/create_channel.h>

#include "proto/channel.h"
#include "tests/integration/daemon/guarded.h"
#include "tests/integration/daemon/pki.h"

namespace ckpt::test {
namespace {

using Code = absl::StatusCode;

// A good call with a good token over a connection of its own, which is not
// waited for.
absl::Status CallOver(Guarded& g, const std::shared_ptr<grpc::ChannelCredentials>& credentials,
                      const std::string& server_name = "", const std::string& address = "") {
  grpc::ChannelArguments arguments = TunedChannelArguments();
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  if (!server_name.empty()) arguments.SetSslTargetNameOverride(server_name);
  const auto stub = v1::Checkpoints::NewStub(grpc::CreateCustomChannel(
      address.empty() ? g.daemon_.address() : address, credentials, arguments));
  grpc::ClientContext context;
  context.AddMetadata(kTokenHeader, kTokenScheme + g.Token("alice/read"));
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(30));
  v1::GetRunRequest request;
  request.mutable_run()->set_project("alice");
  request.mutable_run()->set_run("r");
  v1::GetRunResponse response;
  return FromGrpc(stub->GetRun(&context, request, &response));
}

std::shared_ptr<grpc::ChannelCredentials> Ssl(const std::string& ca, const std::string& cert = "",
                                              const std::string& key = "") {
  grpc::SslCredentialsOptions options;
  if (!ca.empty()) options.pem_root_certs = ReadFile(ca);
  if (!cert.empty()) options.pem_cert_chain = ReadFile(cert);
  if (!key.empty()) options.pem_private_key = ReadFile(key);
  return grpc::SslCredentials(options);
}

// A handshake by OpenSSL itself, which `limit` keeps to what is not good enough.
absl::Status Handshake(Guarded& g, const std::function<void(SSL_CTX*)>& limit) {
  const int port = std::stoi(g.daemon_.address().substr(g.daemon_.address().rfind(':') + 1));
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(static_cast<uint16_t>(port));
  EXPECT_EQ(connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  SSL_CTX* context = SSL_CTX_new(TLS_client_method());
  SSL_CTX_use_certificate_file(context, Pki::Get().Cert("client").c_str(), SSL_FILETYPE_PEM);
  SSL_CTX_use_PrivateKey_file(context, Pki::Get().Key("client").c_str(), SSL_FILETYPE_PEM);
  const unsigned char h2[] = {2, 'h', '2'};
  SSL_CTX_set_alpn_protos(context, h2, sizeof(h2));
  limit(context);
  SSL* ssl = SSL_new(context);
  SSL_set_fd(ssl, fd);
  const bool ok = SSL_connect(ssl) == 1;
  SSL_free(ssl);
  SSL_CTX_free(context);
  close(fd);
  return ok ? absl::OkStatus() : absl::UnavailableError("no handshake");
}

}  // namespace

std::vector<Attack> TlsAttacks() {
  std::vector<Attack> attacks;
  const auto refused = [&](const std::string& what,
                           const std::function<absl::Status(Guarded&)>& run) {
    attacks.push_back({"TLS: " + what, Code::kUnavailable, "", run});
  };
  refused("none, to a port that wants it",
          [](Guarded& g) { return CallOver(g, grpc::InsecureChannelCredentials()); });
  refused("a client that trusts another authority", [](Guarded& g) {
    return CallOver(g, Ssl(Pki::Get().Path("other-ca.pem"), Pki::Get().Cert("client"),
                           Pki::Get().Key("client")));
  });
  refused("a client that trusts the system's authorities", [](Guarded& g) {
    return CallOver(g, Ssl("", Pki::Get().Cert("client"), Pki::Get().Key("client")));
  });
  refused("a client that wants another server", [](Guarded& g) {
    return CallOver(g, Ssl(Pki::Get().Ca(), Pki::Get().Cert("client"), Pki::Get().Key("client")),
                    "elsewhere.example");
  });
  refused("no client certificate", [](Guarded& g) { return CallOver(g, Ssl(Pki::Get().Ca())); });
  for (const auto& [what, whose] : std::vector<std::pair<const char*, const char*>>{
           {"a client certificate of another authority", "stranger"},
           {"a client certificate that has expired", "expired"},
           {"a client certificate that is not valid yet", "early"},
       }) {
    refused(what, [whose = whose](Guarded& g) {
      return CallOver(g, Ssl(Pki::Get().Ca(), Pki::Get().Cert(whose), Pki::Get().Key(whose)));
    });
  }
  refused("version 1.1", [](Guarded& g) {
    return Handshake(g, [](SSL_CTX* c) {
      SSL_CTX_set_security_level(c, 0);
      SSL_CTX_set_max_proto_version(c, TLS1_1_VERSION);
    });
  });
  refused("version 1.0", [](Guarded& g) {
    return Handshake(g, [](SSL_CTX* c) {
      SSL_CTX_set_security_level(c, 0);
      SSL_CTX_set_max_proto_version(c, TLS1_VERSION);
    });
  });
  for (const char* cipher : {"eNULL", "ECDHE-ECDSA-AES128-SHA"}) {
    refused(fmt::format("version 1.2 with {} only", cipher), [cipher](Guarded& g) {
      return Handshake(g, [cipher](SSL_CTX* c) {
        SSL_CTX_set_security_level(c, 0);
        SSL_CTX_set_max_proto_version(c, TLS1_2_VERSION);
        EXPECT_EQ(SSL_CTX_set_cipher_list(c, cipher), 1);
      });
    });
  }
  // A certificate opens the connection and no more.
  attacks.push_back({"TLS: a good certificate and no token", Code::kUnauthenticated,
                     reason::kTokenMissing, [](Guarded& g) {
                       return CallRaw(g.channel_, FullName("GetRun"),
                                      {Encode("GetRun", "$run", g.alice_.words)})
                           .status;
                     }});
  attacks.push_back({"TLS: a good certificate and another project's token", Code::kPermissionDenied,
                     reason::kProjectDenied, [](Guarded& g) {
                       return g.CallAs("bob/admin", "GetRun", "$run", g.alice_.words).status;
                     }});
  return attacks;
}

std::vector<Attack> PlainAttacks() {
  return {{"TLS to a port without it", Code::kUnavailable, "", [](Guarded& g) {
             return CallOver(
                 g, Ssl(Pki::Get().Ca(), Pki::Get().Cert("client"), Pki::Get().Key("client")));
           }}};
}

}  // namespace ckpt::test
