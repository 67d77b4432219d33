// The addresses that the daemon serves on: host:port or unix:PATH.
#pragma once

#include <string>

#include "daemon/config.h"
#include "proto/status.h"

namespace ckptd {

// INVALID_ARGUMENT unless `address` is one, and one that may be served on: what
// other machines reach asks for tokens and speaks TLS, or is allowed without.
absl::Status CheckListen(const std::string& address, const Config& config);

}  // namespace ckptd
