#include "client/ckptctl/progress.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include <fmt/format.h>

#include "client/ckptctl/units.h"

namespace ckpt::ctl {

std::string ProgressLine(const std::string& label, uint64_t done, uint64_t total,
                         absl::Duration elapsed, size_t width) {
  const double seconds = absl::ToDoubleSeconds(elapsed);
  const double rate = seconds > 0 ? static_cast<double>(done) / seconds : 0;
  const double share =
      total > 0 ? std::min(1.0, static_cast<double>(done) / static_cast<double>(total)) : 1;
  std::string eta = "--";
  if (done >= total) {
    eta = "0s";
  } else if (rate > 0) {
    eta = FormatAge(absl::Seconds(static_cast<double>(total - done) / rate + 0.5));
  }
  const std::string numbers =
      fmt::format("{:3.0f}%  {} / {}  {}/s  ETA {}", share * 100, FormatBytes(done),
                  FormatBytes(total), FormatBytes(static_cast<uint64_t>(rate)), eta);
  const size_t used = label.size() + numbers.size() + 6;
  if (width < used + 8) return fmt::format("{}  {}", label, numbers);
  const size_t room = std::min<size_t>(width - used, 30);
  const size_t full = static_cast<size_t>(share * static_cast<double>(room));
  return fmt::format("{}  [{}{}]  {}", label, std::string(full, '#'), std::string(room - full, '-'),
                     numbers);
}

ProgressBar::ProgressBar(std::string label)
    : label_(std::move(label)), terminal_(isatty(STDERR_FILENO) != 0) {}

void ProgressBar::Update(uint64_t done, uint64_t total) {
  if (!terminal_) return;
  const absl::Time now = absl::Now();
  // The first moment shows nothing: short transfers need no bar.
  if (now - began_ < absl::Milliseconds(300) || now - drawn_ < absl::Milliseconds(100)) return;
  drawn_ = now;
  shown_ = true;
  winsize size{};
  const size_t width =
      ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
  fmt::print(stderr, "\r\033[K{}",
             ProgressLine(label_, done, total, now - began_, width - 1).substr(0, width - 1));
  fflush(stderr);
}

void ProgressBar::Clear() {
  if (!shown_) return;
  fmt::print(stderr, "\r\033[K");
  fflush(stderr);
  shown_ = false;
}

}  // namespace ckpt::ctl
