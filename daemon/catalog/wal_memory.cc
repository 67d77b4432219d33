#include "daemon/catalog/wal_memory.h"

#include <cstring>

#include "daemon/catalog/page_sum.h"

namespace ckptd::catalog {
namespace {

// https://sqlite.org/fileformat2.html#the_write_ahead_log
constexpr uint64_t kWalHeaderBytes = 32;
constexpr uint64_t kFrameHeaderBytes = 24;
constexpr size_t kPageSizeAt = 8;

}  // namespace

volatile void* WalIndex::Region(Held& held, int number, int bytes, bool make) {
  absl::MutexLock lock(&mutex_);
  if (!held.attached) {
    held.attached = true;
    ++attached_;
  }
  const auto index = static_cast<size_t>(number);
  if (index >= regions_.size()) {
    if (!make) return nullptr;
    regions_.resize(index + 1);
  }
  std::unique_ptr<std::byte[]>& region = regions_[index];
  if (region == nullptr) region = std::make_unique<std::byte[]>(static_cast<size_t>(bytes));
  return region.get();
}

bool WalIndex::LockShared(Held& held, int slot) {
  absl::MutexLock lock(&mutex_);
  if ((held.shared >> slot & 1) != 0) return true;
  if (locks_[slot] < 0) return false;
  ++locks_[slot];
  held.shared |= static_cast<uint8_t>(1 << slot);
  return true;
}

bool WalIndex::LockExclusive(Held& held, int first, int count) {
  absl::MutexLock lock(&mutex_);
  for (int slot = first; slot < first + count; ++slot) {
    if ((held.exclusive >> slot & 1) == 0 && locks_[slot] != 0) return false;
  }
  for (int slot = first; slot < first + count; ++slot) {
    locks_[slot] = -1;
    held.exclusive |= static_cast<uint8_t>(1 << slot);
  }
  return true;
}

void WalIndex::Unlock(Held& held, int first, int count) {
  absl::MutexLock lock(&mutex_);
  for (int slot = first; slot < first + count; ++slot) {
    const auto bit = static_cast<uint8_t>(1 << slot);
    if ((held.exclusive & bit) != 0) locks_[slot] = 0;
    if ((held.shared & bit) != 0) --locks_[slot];
    held.exclusive &= static_cast<uint8_t>(~bit);
    held.shared &= static_cast<uint8_t>(~bit);
  }
}

void WalIndex::Leave(Held& held) {
  Unlock(held, 0, kSlots);
  absl::MutexLock lock(&mutex_);
  if (!held.attached) return;
  held.attached = false;
  if (--attached_ == 0) regions_.clear();
}

void WalSums::SetHeader(std::span<const std::byte> bytes) {
  uint32_t page = 0;
  std::memcpy(&page, bytes.data() + kPageSizeAt, sizeof(page));
  page_bytes_ = __builtin_bswap32(page);  // the header is big-endian
}

WalSums::Place WalSums::PlaceOf(uint64_t offset, uint64_t length) const {
  const uint64_t page = page_bytes_;
  if (page == 0 || offset < kWalHeaderBytes || length == 0) return {};
  const uint64_t frame_bytes = kFrameHeaderBytes + page;
  const uint64_t from = offset - kWalHeaderBytes;
  Place place{.first = from / frame_bytes, .last = (from + length - 1) / frame_bytes};
  const uint64_t at = from % frame_bytes;
  if (at == 0 && length == kFrameHeaderBytes) {
    place.part = Part::kHeader;
  } else if (at == kFrameHeaderBytes && length == page) {
    place.part = Part::kPage;
  } else if (at == 0 && length == frame_bytes) {
    place.part = Part::kFrame;
  } else {
    place.part = Part::kPiece;
  }
  return place;
}

void WalSums::Written(uint64_t offset, std::span<const std::byte> bytes) {
  if (offset == 0 && bytes.size() == kWalHeaderBytes) {
    // The log begins anew.
    SetHeader(bytes);
    absl::MutexLock lock(&mutex_);
    sums_.clear();
    return;
  }
  const Place place = PlaceOf(offset, bytes.size());
  if (place.part == Part::kPage) {
    const uint64_t sum = SumOf(bytes);
    absl::MutexLock lock(&mutex_);
    Set(place.first, sum);
  } else if (place.part == Part::kPiece || place.part == Part::kFrame) {
    // What the frame holds in the end is not known here.
    absl::MutexLock lock(&mutex_);
    for (uint64_t i = place.first; i <= place.last && i < sums_.size(); ++i) sums_[i].reset();
  }
}

bool WalSums::Check(uint64_t offset, std::span<const std::byte> bytes) {
  if (offset == 0 && bytes.size() == kWalHeaderBytes && page_bytes_ == 0) SetHeader(bytes);
  const Place place = PlaceOf(offset, bytes.size());
  if (place.part != Part::kPage && place.part != Part::kFrame) return true;
  const bool whole = place.part == Part::kFrame;
  const uint64_t sum = SumOf(whole ? bytes.subspan(kFrameHeaderBytes) : bytes);
  absl::MutexLock lock(&mutex_);
  if (place.first < sums_.size() && sums_[place.first].has_value()) {
    return *sums_[place.first] == sum;
  }
  // SQLite compares its own checksums now, and uses the frame only if they are right.
  if (whole) Set(place.first, sum);
  return true;
}

void WalSums::Set(uint64_t frame, uint64_t sum) {
  if (frame >= sums_.size()) sums_.resize(frame + 1);
  sums_[frame] = sum;
}

void WalSums::Truncated(uint64_t size) {
  if (page_bytes_ == 0) return;
  const uint64_t frames =
      size <= kWalHeaderBytes ? 0 : (size - kWalHeaderBytes) / (kFrameHeaderBytes + page_bytes_);
  absl::MutexLock lock(&mutex_);
  if (frames < sums_.size()) sums_.resize(frames);
}

}  // namespace ckptd::catalog
