// Whether an address is this machine's alone: both sides trust it further.
#pragma once

#include <string>

namespace ckpt {

// "host:port" or "unix:PATH": a Unix socket, 127.0.0.0/8, ::1 or localhost. A
// name that only begins like one of them is not.
bool IsLoopback(const std::string& address);

}  // namespace ckpt
