#include "daemon/store/packer.h"

#include <string>
#include <utility>

#include <spdlog/spdlog.h>

#include "daemon/os/thread.h"

namespace ckptd {

Packer::Packer(Pack pack, std::function<bool()> is_busy, uint64_t bytes_per_second,
               absl::Duration retry)
    : pack_(std::move(pack)),
      retry_(retry),
      pacer_(std::move(is_busy), {.bytes_per_second = bytes_per_second}) {}

void Packer::Start() {
  {
    absl::MutexLock lock(&mutex_);
    started_ = true;
  }
  pacer_.Start();
  thread_ = std::thread([this] {
    os::NameThread("packer");
    Loop();
  });
}

void Packer::Stop() {
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
  }
  pacer_.Stop();
  if (thread_.joinable()) thread_.join();
}

void Packer::Look(int64_t run_id) {
  absl::MutexLock lock(&mutex_);
  if (started_) due_.insert(run_id);
}

void Packer::Loop() {
  for (;;) {
    int64_t run_id = 0;
    {
      absl::MutexLock lock(&mutex_);
      auto ready = [this]()
                       ABSL_SHARED_LOCKS_REQUIRED(mutex_) { return stopping_ || !due_.empty(); };
      mutex_.Await(absl::Condition(&ready));
      if (stopping_) return;
      run_id = *due_.begin();
      due_.erase(due_.begin());
    }
    if (!pacer_.GoOn(0)) return;
    if (absl::Status status = pack_(run_id); !status.ok()) {
      spdlog::warn("packing history of run {} failed, will be tried again: {}", run_id,
                   std::string(status.message()));
      Look(run_id);
      if (!pacer_.Sleep(retry_)) return;
    }
  }
}

}  // namespace ckptd
