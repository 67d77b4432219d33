// The words in which settings are given: checks that CLI11 makes, whose sentences
// it puts the flag's name before, and values that are parsed once it is done.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <absl/time/time.h>

#include "proto/status.h"

namespace ckptd {

// A whole number from 1 on; with `or_none` also "none".
CLI::Validator CountUpTo(uint64_t most, bool or_none = false);
CLI::Validator OneOf(std::vector<std::string> words);
// "512MiB", which it writes out as a number of bytes.
CLI::Validator Size();

// INVALID_ARGUMENT that names `name`, here as below.
absl::StatusOr<absl::Duration> ParseTime(const char* name, const std::string& text);
// A size above zero; "none" is 0.
absl::StatusOr<uint64_t> ParseLimit(const char* name, const std::string& text);

}  // namespace ckptd
