#include "client/address.h"

#include <sys/un.h>

#include <algorithm>
#include <charconv>
#include <cstring>

#include "proto/limits.h"
#include "proto/names.h"

namespace ckpt {
namespace {

absl::Status BadAddress(const std::string& address, std::string_view what) {
  return BadField("address", fmt::format("\"{}\" is no address of a daemon: {}; write host:port, "
                                         "[ipv6]:port or unix:PATH",
                                         Printable(address), what));
}

}  // namespace

absl::Status CheckAddress(const std::string& address) {
  if (address.empty()) return BadAddress(address, "it is empty");
  if (std::any_of(address.begin(), address.end(),
                  [](unsigned char c) { return c < 0x20 || c == 0x7f; })) {
    return BadAddress(address, "it holds a control character");
  }
  if (address.starts_with("unix:")) {
    const std::string path = address.substr(std::strlen("unix:"));
    if (path.empty() || path == "//") return BadAddress(address, "the path is missing");
    if (path.size() >= sizeof(sockaddr_un::sun_path)) {
      return BadAddress(address, fmt::format("the path is longer than a socket's may be, {} bytes",
                                             sizeof(sockaddr_un::sun_path) - 1));
    }
    return absl::OkStatus();
  }
  const size_t colon = address.rfind(':');
  if (colon == std::string::npos) return BadAddress(address, "the port is missing");
  const std::string host = address.substr(0, colon);
  const bool bracketed = host.size() > 2 && host.front() == '[' && host.back() == ']';
  if (host.empty()) return BadAddress(address, "the host is missing");
  if (!bracketed && host.find(':') != std::string::npos) {
    return BadAddress(address, "an IPv6 address needs brackets");
  }
  if (host.find_first_of(" /@") != std::string::npos) {
    return BadAddress(address, "the host is no name or IP address");
  }
  const std::string_view port = std::string_view(address).substr(colon + 1);
  uint32_t number = 0;
  const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), number);
  if (error != std::errc() || end != port.data() + port.size() || number == 0 || number > 65535) {
    return BadAddress(address, "the port is not 1 to 65535");
  }
  return absl::OkStatus();
}

absl::StatusOr<ResolvedAddress> ResolveAddress(const std::optional<std::string>& flag,
                                               const GetEnv& env) {
  ResolvedAddress found{kDefaultAddress, "the default"};
  if (flag.has_value() && !flag->empty()) {
    found = {*flag, "the flag"};
  } else if (auto variable = env(kAddressVariable); variable.has_value() && !variable->empty()) {
    found = {*variable, kAddressVariable};
  } else {
    const std::string path = SettingsPath(env);
    ASSIGN_OR_RETURN(const std::optional<std::string> address,
                     ReadSetting(path, "address", "host:port"));
    if (address.has_value()) found = {*address, path};
  }
  if (absl::Status status = CheckAddress(found.address); !status.ok()) {
    return Annotate(status, "from " + found.source);
  }
  return found;
}

absl::StatusOr<ResolvedAddress> ResolveAddress(const std::optional<std::string>& flag) {
  return ResolveAddress(flag, ProcessEnvironment());
}

absl::Status Unreachable(const std::string& address, const std::string& detail) {
  return MakeError(absl::StatusCode::kUnavailable, reason::kUnreachable,
                   fmt::format("cannot reach ckptd at {}: {}; is it running? Start it with `ckptd "
                               "--data-dir DIR --listen {}`, or give another address by --address "
                               "or {}",
                               address, Printable(detail, 200), address, kAddressVariable));
}

}  // namespace ckpt
