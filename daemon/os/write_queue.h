// Writes that go on while their caller does something else. Internal to
// daemon/os.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>

#include "daemon/os/file_system.h"

namespace ckptd::os {

// Thread-safe. The destructor waits for the writes under way.
class WriteQueue {
 public:
  virtual ~WriteQueue() = default;

  // Writes all of `bytes`; `done` gets 0 or the errno, once, from a thread of
  // the queue. Descriptor and bytes must stay until then. May be called from a
  // thread that ends before the write does. Waits where very many are under
  // way already, so `done` must not call it.
  using Done = std::function<void(int error)>;
  virtual void Start(int fd, uint64_t offset, std::span<const std::byte> bytes, Done done) = 0;
};

// Over io_uring; null, with errno set, where the kernel refuses it (older than
// 5.6, a container's seccomp profile, kernel.io_uring_disabled).
std::unique_ptr<WriteQueue> NewRingQueue();
// Over a few threads.
std::unique_ptr<WriteQueue> NewThreadQueue();
// What `mode` asks for and the kernel gives.
std::shared_ptr<WriteQueue> NewWriteQueue(WriteMode mode);

// pwrite until everything is written; 0 or the errno.
int WriteFully(int fd, uint64_t offset, std::span<const std::byte> bytes);

}  // namespace ckptd::os
