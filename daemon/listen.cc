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
  return ckpt::BadField("listen", fmt::format("{} can be reached from other machines, and nothing "
                                              "is encrypted: listen on 127.0.0.1, or pass "
                                              "--allow-remote on a network you trust",
                                              address));
}

}  // namespace ckptd
