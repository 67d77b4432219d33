// How verdicts write numbers.
#pragma once

#include <cstdint>
#include <string>

namespace ckptd::retention {

// "512 B", "1.5 KiB", "12.0 GiB".
std::string FormatBytes(uint64_t bytes);

}  // namespace ckptd::retention
