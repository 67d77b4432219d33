#include "client/staging.h"

#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <numeric>
#include <thread>

#include "proto/chunking.h"
#include "proto/limits.h"

namespace ckpt {

namespace {
constexpr size_t kHugePage = 2u << 20;
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23  // newer than some C libraries
#endif
}  // namespace

Staging::~Staging() {
  if (memory_ != nullptr) ::munmap(memory_, capacity_);
}

absl::Status Staging::Reserve(size_t size) {
  if (size <= capacity_) return absl::OkStatus();
  const size_t rounded = (size + kHugePage - 1) / kHugePage * kHugePage;
  // Growing keeps the pages that are there.
  void* memory = memory_ == nullptr ? ::mmap(nullptr, rounded, PROT_READ | PROT_WRITE,
                                             MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
                                    : ::mremap(memory_, capacity_, rounded, MREMAP_MAYMOVE);
  if (memory == MAP_FAILED) {
    return MakeError(absl::StatusCode::kResourceExhausted, reason::kNoSpace,
                     fmt::format("no memory for a staging buffer of {} bytes", size));
  }
  ::madvise(memory, rounded, MADV_HUGEPAGE);  // a wish only
  memory_ = static_cast<std::byte*>(memory);
  capacity_ = rounded;
  return absl::OkStatus();
}

void Staging::FaultIn(const std::atomic<bool>& stop) {
  // In steps, since each may take its time and `stop` should be heard soon.
  constexpr size_t kStep = 2 * kHugePage;
  for (; faulted_in_ < capacity_ && !stop; faulted_in_ += kStep) {
    const size_t step = std::min(kStep, capacity_ - faulted_in_);
    // A kernel before 5.14 does not know it: the first save pays then.
    if (::madvise(memory_ + faulted_in_, step, MADV_POPULATE_WRITE) != 0) return;
  }
}

absl::Status Staging::Prepare(std::vector<Entry> entries) {
  size_ = 0;
  manifest_.chunks.clear();
  manifest_.entries = std::move(entries);
  const std::vector<uint32_t> lengths = LayOut(manifest_.entries);
  manifest_.chunks.reserve(lengths.size());
  for (const uint32_t length : lengths) {
    // Until Hash any digest will do that is no other chunk's.
    const uint64_t index = manifest_.chunks.size();
    Chunk chunk{.length = length};
    std::memcpy(chunk.digest.bytes.data(), &index, sizeof(index));
    manifest_.chunks.push_back(chunk);
  }
  RETURN_IF_ERROR(CheckManifest(manifest_));
  const uint64_t total = manifest_.bytes();
  RETURN_IF_ERROR(Reserve(total));
  size_ = total;

  // What lies between entries may hold bytes of the save before.
  std::vector<size_t> order(manifest_.entries.size());
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(), [this](size_t a, size_t b) {
    return manifest_.entries[a].offset < manifest_.entries[b].offset;
  });
  uint64_t end = 0;
  const auto clear_up_to = [&](uint64_t begin) {
    if (begin > end) std::memset(memory_ + end, 0, begin - end);
  };
  for (const size_t index : order) {
    const Entry& entry = manifest_.entries[index];
    clear_up_to(entry.offset);
    end = std::max(end, entry.offset + entry.length);
  }
  clear_up_to(size_);
  return absl::OkStatus();
}

std::span<std::byte> Staging::entry(size_t index) {
  const Entry& entry = manifest_.entries[index];
  if (entry.length == 0) return {};
  return {memory_ + entry.offset, entry.length};
}

const Manifest& Staging::Hash(int threads) {
  const std::vector<uint64_t> offsets = ChunkOffsets(manifest_);
  std::atomic<size_t> next{0};
  const auto work = [&] {
    for (size_t i = next++; i < manifest_.chunks.size(); i = next++) {
      Chunk& chunk = manifest_.chunks[i];
      chunk.digest = HashBytes(memory_ + offsets[i], chunk.length);
    }
  };
  const size_t useful = std::min<size_t>(std::max(threads, 1), manifest_.chunks.size());
  std::vector<std::thread> helpers;
  for (size_t i = 1; i < useful; ++i) helpers.emplace_back(work);
  work();
  for (std::thread& helper : helpers) helper.join();
  return manifest_;
}

}  // namespace ckpt
