#include "trainer/corpus.h"

#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>
#include <system_error>

namespace ckpt::trainer {

namespace fs = std::filesystem;

absl::StatusOr<Corpus> ReadCorpus(const std::vector<std::string>& paths, double validation_share,
                                  size_t min_bytes) {
  std::set<fs::path> files;
  for (const std::string& path : paths) {
    std::error_code error;
    if (fs::is_directory(path, error)) {
      for (const auto& item : fs::directory_iterator(path, error)) {
        if (item.is_regular_file()) files.insert(fs::canonical(item.path(), error));
      }
    } else {
      files.insert(fs::canonical(path, error));
    }
    if (error) {
      return absl::NotFoundError(
          fmt::format("Training text {} cannot be read: {}.", path, error.message()));
    }
  }
  Corpus corpus;
  for (const fs::path& file : files) {
    std::ifstream in(file, std::ios::binary);
    std::vector<uint8_t> bytes((std::istreambuf_iterator<char>(in)), {});
    if (!in.good() && !in.eof()) {
      return absl::NotFoundError(fmt::format("Training text {} cannot be read.", file.string()));
    }
    const auto held_out = static_cast<size_t>(static_cast<double>(bytes.size()) * validation_share);
    const auto cut = bytes.end() - static_cast<std::ptrdiff_t>(held_out);
    corpus.train.insert(corpus.train.end(), bytes.begin(), cut);
    corpus.validation.insert(corpus.validation.end(), cut, bytes.end());
  }
  if (corpus.train.size() < min_bytes || corpus.validation.size() < min_bytes) {
    return absl::InvalidArgumentError(fmt::format(
        "The text has {} bytes to train on and {} held out, but each must have {} for one context; "
        "give more text, or a smaller --context.",
        corpus.train.size(), corpus.validation.size(), min_bytes));
  }
  return corpus;
}

}  // namespace ckpt::trainer
