#include "daemon/os/mapping.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>

namespace ckptd::os {
namespace {

// The ranges that are mapped now, which the handler of a signal can read.
// A stream looks at two chunks at a time.
constexpr size_t kMaxRanges = 4096;
struct Slot {
  std::atomic<uintptr_t> begin = 0;  // 0: free
  std::atomic<uintptr_t> end = 0;
};
std::array<Slot, kMaxRanges> slots;

Slot* TakeSlot(uintptr_t begin, uintptr_t end) {
  static std::atomic<size_t> next = 0;
  for (size_t tries = 0; tries < kMaxRanges; ++tries) {
    Slot& slot = slots[next.fetch_add(1, std::memory_order_relaxed) % kMaxRanges];
    uintptr_t free = 0;
    if (!slot.begin.compare_exchange_strong(free, begin)) continue;
    slot.end = end;
    return &slot;
  }
  return nullptr;
}

size_t PageBytes() {
  static const auto bytes = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  return bytes;
}

// Puts a page of zeros where one could not be read, and lets the reader go on.
// Only what POSIX lets a handler call, and mmap, which Linux does.
void OnBusError(int, siginfo_t* info, void*) {
  const int error = errno;
  const auto at = reinterpret_cast<uintptr_t>(info->si_addr);
  for (const Slot& slot : slots) {
    const uintptr_t begin = slot.begin;
    if (begin == 0 || at < begin || at >= slot.end) continue;
    void* const page = reinterpret_cast<void*>(at / PageBytes() * PageBytes());
    if (mmap(page, PageBytes(), PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) ==
        page) {
      errno = error;
      return;
    }
  }
  // Not ours: the instruction is tried again, and ends the process.
  signal(SIGBUS, SIG_DFL);
}

bool HandleBusErrors() {
  PageBytes();  // a signal handler may not be the first to ask
  struct sigaction action = {};
  action.sa_sigaction = OnBusError;
  action.sa_flags = SA_SIGINFO | SA_RESTART;
  sigemptyset(&action.sa_mask);
  return sigaction(SIGBUS, &action, nullptr) == 0;
}

class Mapping final : public SharedBytes {
 public:
  Mapping(Slot* slot, void* begin, size_t length, size_t skip)
      : slot_(slot), begin_(begin), length_(length), skip_(skip) {}
  ~Mapping() override {
    slot_->end = 0;
    slot_->begin = 0;
    munmap(begin_, length_);
  }
  std::span<const std::byte> bytes() const override {
    return {static_cast<const std::byte*>(begin_) + skip_, length_ - skip_};
  }

 private:
  Slot* const slot_;
  void* const begin_;
  const size_t length_, skip_;
};

}  // namespace

std::unique_ptr<SharedBytes> MapRange(int fd, uint64_t offset, size_t length) {
  static const bool handled = HandleBusErrors();
  if (!handled || length == 0) return nullptr;
  // What a file's last page has behind its end reads as zeros.
  struct stat st;
  if (fstat(fd, &st) != 0 || offset + length > static_cast<uint64_t>(st.st_size)) return nullptr;
  const size_t skip = offset % PageBytes();
  const size_t whole = skip + length;
  void* const begin =
      mmap(nullptr, whole, PROT_READ, MAP_SHARED, fd, static_cast<off_t>(offset - skip));
  if (begin == MAP_FAILED) return nullptr;
  const auto address = reinterpret_cast<uintptr_t>(begin);
  int failed;
  do {
    failed = madvise(begin, whole, MADV_POPULATE_READ);
  } while (failed != 0 && errno == EINTR);
  Slot* const slot = failed != 0 ? nullptr : TakeSlot(address, address + whole);
  if (slot == nullptr) {
    munmap(begin, whole);
    return nullptr;
  }
  return std::make_unique<Mapping>(slot, begin, whole, skip);
}

}  // namespace ckptd::os
