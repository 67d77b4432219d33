// A push that stops in mid-stream until it is told to go on.
#pragma once

#include <algorithm>
#include <future>

#include <absl/synchronization/notification.h>

#include "tests/integration/daemon/harness.h"

namespace ckpt::test {

// Pushes step 1; stops before chunk 4.
class HeldPush {
 public:
  HeldPush(Client& client, const RunName& run, uint64_t attempt)
      : result_(std::async(std::launch::async, [this, &client, run, attempt] {
          PushRequest request;
          request.offer = {.run = run, .attempt = attempt, .step = 1, .manifest = &shard_.manifest};
          request.source =
              ChunkReader([this](uint32_t index, uint64_t offset, std::span<std::byte> into) {
                if (index == 4 && !half_.HasBeenNotified()) {
                  half_.Notify();
                  go_on_.WaitForNotification();
                }
                std::copy_n(shard_.bytes.begin() + static_cast<ptrdiff_t>(offset), into.size(),
                            into.begin());
                return absl::OkStatus();
              });
          return Push(client, request);
        })) {}
  void WaitUntilHalf() { half_.WaitForNotification(); }
  void GoOn() { go_on_.Notify(); }
  absl::StatusOr<PushResult> Result() { return result_.get(); }
  const Shard& shard() const { return shard_; }

 private:
  const Shard shard_ = MakeShard(1, 32 * kMiB);
  absl::Notification half_, go_on_;
  std::future<absl::StatusOr<PushResult>> result_;
};

}  // namespace ckpt::test
