#include "daemon/chunks/errors.h"

#include <fmt/format.h>

namespace ckptd {

absl::Status ChunkDamaged(const ckpt::Digest& digest, const ChunkLocation& location,
                          std::string_view what) {
  return ckpt::MakeError(absl::StatusCode::kDataLoss, ckpt::reason::kChunkDamaged,
                         fmt::format("chunk {} at {} of pack {:016x} is damaged: {}", digest.Hex(),
                                     location.offset, location.pack, what));
}

}  // namespace ckptd
