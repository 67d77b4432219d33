#include "trainer/loss_log.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include <fstream>
#include <utility>

#include <nlohmann/json.hpp>

namespace ckpt::trainer {
namespace {

absl::Status LogError(const std::string& path) {
  return absl::UnavailableError(
      fmt::format("The loss log {} cannot be written: {}.", path, strerror(errno)));
}

}  // namespace

LossLog::LossLog(LossLog&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)), path_(std::move(other.path_)) {}

LossLog& LossLog::operator=(LossLog&& other) noexcept {
  std::swap(fd_, other.fd_);
  std::swap(path_, other.path_);
  return *this;
}

LossLog::~LossLog() {
  if (fd_ >= 0) close(fd_);
}

absl::StatusOr<LossLog> LossLog::Open(const std::string& path, int64_t resumed_step) {
  off_t keep = 0;
  std::ifstream in(path, std::ios::binary);
  for (std::string line; std::getline(in, line) && !in.eof();) {
    const auto json = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (!json.is_object() || !json.contains("step") || !json["step"].is_number_integer() ||
        json["step"].get<int64_t>() > resumed_step) {
      break;
    }
    keep += static_cast<off_t>(line.size()) + 1;
  }
  LossLog log;
  log.path_ = path;
  log.fd_ = open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
  if (log.fd_ < 0 || ftruncate(log.fd_, keep) != 0 || lseek(log.fd_, 0, SEEK_END) < 0) {
    return LogError(path);
  }
  return log;
}

absl::Status LossLog::Write(int64_t step, double loss, double learning_rate,
                            std::optional<double> validation_loss) {
  if (fd_ < 0) return absl::OkStatus();
  nlohmann::ordered_json json = {{"step", step}, {"loss", loss}, {"lr", learning_rate}};
  if (validation_loss) json["val_loss"] = *validation_loss;
  const std::string line = json.dump() + "\n";
  // One write a line, so that a kill leaves whole lines.
  if (write(fd_, line.data(), line.size()) != static_cast<ssize_t>(line.size())) {
    return LogError(path_);
  }
  return absl::OkStatus();
}

}  // namespace ckpt::trainer
