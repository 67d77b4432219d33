#include "daemon/listen.h"

#include <sys/un.h>

#include <absl/strings/numbers.h>
#include <fmt/format.h>

#include "proto/loopback.h"
#include "proto/names.h"

namespace ckptd {
absl::Status CheckListen(const std::string& address, const Config& config) {
  if (address.starts_with("unix:")) {
    if (address.size() > 5 && address.size() - 5 < sizeof(sockaddr_un::sun_path)) {
      return absl::OkStatus();
    }
    return ckpt::BadField("listen",
                          fmt::format("\"{}\" is no address: the path of a Unix socket "
                                      "has 1 to {} bytes",
                                      ckpt::Printable(address), sizeof(sockaddr_un::sun_path) - 1));
  }
  size_t colon = address.rfind(':');
  int port = -1;
  bool good = colon != std::string::npos && colon > 0 &&
              absl::SimpleAtoi(address.substr(colon + 1), &port) && port >= 0 && port <= 65535;
  if (!good) {
    return ckpt::BadField("listen",
                          fmt::format("\"{}\" is no address to listen on: write host:port "
                                      "or unix:PATH",
                                      ckpt::Printable(address)));
  }
  if (ckpt::IsLoopback(address) || config.allow_remote) return absl::OkStatus();
  const bool asks = config.auth == "tokens", encrypts = !config.tls_cert.empty();
  if (asks && encrypts) return absl::OkStatus();
  const char* what = "nothing is encrypted and nobody is asked for a token";
  const char* cure = "set auth to tokens, tls-cert and tls-key";
  if (asks) {
    what = "tokens would go there unencrypted";
    cure = "set tls-cert and tls-key";
  } else if (encrypts) {
    what = "nobody is asked for a token";
    cure = "set auth to tokens";
  }
  return ckpt::BadField("listen",
                        fmt::format("{} can be reached from other machines, and {}: {}, listen on "
                                    "127.0.0.1, or pass --allow-remote on a network you trust",
                                    address, what, cure));
}

}  // namespace ckptd
