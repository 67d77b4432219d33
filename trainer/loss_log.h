// The loss curve: one JSON object a line, one line a step, in a file that
// survives restarts. It holds nothing that depends on time, so that two runs
// that trained alike have equal files.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "proto/status.h"

namespace ckpt::trainer {

class LossLog {
 public:
  LossLog() = default;  // writes nothing
  LossLog(LossLog&& other) noexcept;
  LossLog& operator=(LossLog&& other) noexcept;
  ~LossLog();

  // Opens `path` for appending, and cuts off what a killed attempt wrote past
  // `resumed_step` (0: everything), as well as a line it did not finish.
  static absl::StatusOr<LossLog> Open(const std::string& path, int64_t resumed_step);

  absl::Status Write(int64_t step, double loss, double learning_rate,
                     std::optional<double> validation_loss);

 private:
  int fd_ = -1;
  std::string path_;
};

}  // namespace ckpt::trainer
