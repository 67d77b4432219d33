#include "client/address.h"

#include <sys/un.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <fstream>

#include "proto/limits.h"
#include "proto/names.h"

namespace ckpt {
namespace {

absl::Status BadAddress(const std::string& address, std::string_view what) {
  return BadField("address", fmt::format("\"{}\" is no address of a daemon: {}; write host:port, "
                                         "[ipv6]:port or unix:PATH",
                                         Printable(address), what));
}

std::string_view Trim(std::string_view text) {
  const auto blank = [](char c) { return c == ' ' || c == '\t' || c == '\r'; };
  while (!text.empty() && blank(text.front())) text.remove_prefix(1);
  while (!text.empty() && blank(text.back())) text.remove_suffix(1);
  return text;
}

// The value of the line `address = "..."`, if `path` has one.
absl::StatusOr<std::optional<std::string>> ReadAddress(const std::string& path) {
  errno = 0;
  std::ifstream file(path);
  if (!file) {
    if (errno == ENOENT || errno == ENOTDIR) return std::nullopt;
    return MakeError(absl::StatusCode::kPermissionDenied, reason::kIoError,
                     fmt::format("cannot read {}: {}", path, std::strerror(errno)));
  }
  std::string line;
  for (int number = 1; std::getline(file, line); ++number) {
    std::string_view rest = Trim(line);
    if (!rest.starts_with("address")) continue;
    rest = Trim(rest.substr(std::strlen("address")));
    if (!rest.starts_with("=")) continue;
    rest = Trim(rest.substr(1));
    const char quote = rest.empty() ? '\0' : rest.front();
    if (quote == '"' || quote == '\'') {
      const size_t end = rest.find(quote, 1);
      const std::string_view after =
          end == std::string_view::npos ? "" : Trim(rest.substr(end + 1));
      if (end != std::string_view::npos && (after.empty() || after.front() == '#')) {
        return std::string(rest.substr(1, end - 1));
      }
    }
    return BadField("address",
                    fmt::format("line {} of {} is not address = \"host:port\"", number, path));
  }
  return std::nullopt;
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
    std::string directory;
    if (auto xdg = env("XDG_CONFIG_HOME"); xdg.has_value() && !xdg->empty()) {
      directory = *xdg;
    } else if (auto home = env("HOME"); home.has_value() && !home->empty()) {
      directory = *home + "/.config";
    }
    if (!directory.empty()) {
      const std::string path = directory + "/ckptd/client.toml";
      ASSIGN_OR_RETURN(const std::optional<std::string> address, ReadAddress(path));
      if (address.has_value()) found = {*address, path};
    }
  }
  if (absl::Status status = CheckAddress(found.address); !status.ok()) {
    return Annotate(status, "from " + found.source);
  }
  return found;
}

absl::StatusOr<ResolvedAddress> ResolveAddress(const std::optional<std::string>& flag) {
  return ResolveAddress(flag, [](const std::string& name) -> std::optional<std::string> {
    const char* value = std::getenv(name.c_str());
    if (value == nullptr) return std::nullopt;
    return std::string(value);
  });
}

absl::Status Unreachable(const std::string& address, const std::string& detail) {
  return MakeError(absl::StatusCode::kUnavailable, reason::kUnreachable,
                   fmt::format("cannot reach ckptd at {}: {}; is it running? Start it with `ckptd "
                               "--data-dir DIR --listen {}`, or give another address by --address "
                               "or {}",
                               address, Printable(detail, 200), address, kAddressVariable));
}

}  // namespace ckpt
