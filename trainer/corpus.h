// The text a trainer learns from, as bytes.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "proto/status.h"

namespace ckpt::trainer {

// Text found on every Debian machine.
inline constexpr char kDefaultCorpus[] = "/usr/share/common-licenses";

struct Corpus {
  std::vector<uint8_t> train;
  std::vector<uint8_t> validation;  // a part of every file's end, held out
};

// Reads files, and directories' files (not their subdirectories'), in the
// order of their real paths; a file named twice, also by a link, counts once.
// `validation_share` of each file is held out. NOT_FOUND when a path cannot be
// read; INVALID_ARGUMENT when a part is shorter than `min_bytes`.
absl::StatusOr<Corpus> ReadCorpus(const std::vector<std::string>& paths, double validation_share,
                                  size_t min_bytes);

}  // namespace ckpt::trainer
