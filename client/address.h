// Where the daemon is: "host:port" or "unix:PATH".
#pragma once

#include <optional>
#include <string>

#include "client/settings.h"
#include "proto/status.h"

namespace ckpt {

inline constexpr char kAddressVariable[] = "CKPTD_ADDRESS";

// INVALID_ARGUMENT in one sentence unless `address` is "host:port",
// "[ipv6]:port" or "unix:PATH".
absl::Status CheckAddress(const std::string& address);

// Flag over environment over file over kDefaultAddress. The file is
// $XDG_CONFIG_HOME/ckptd/client.toml, or ~/.config/ckptd/client.toml, with a
// line `address = "..."`; it need not exist. `source` says which one it was,
// for messages.
struct ResolvedAddress {
  std::string address;
  std::string source;  // "the flag", "CKPTD_ADDRESS", a path, "the default"
};
absl::StatusOr<ResolvedAddress> ResolveAddress(const std::optional<std::string>& flag,
                                               const GetEnv& env);
absl::StatusOr<ResolvedAddress> ResolveAddress(
    const std::optional<std::string>& flag = std::nullopt);  // the process's environment

// "cannot reach ckptd at X: ...; is it running? ..." UNAVAILABLE/UNREACHABLE.
absl::Status Unreachable(const std::string& address, const std::string& detail);

}  // namespace ckpt
