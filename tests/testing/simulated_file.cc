// The files of a simulated disk.
#include <algorithm>
#include <cerrno>
#include <cstring>

#include "tests/testing/simulated_disk.h"

namespace ckptd::os {

int SimulatedDisk::OpenFile::Read(uint64_t offset, std::span<std::byte> out, size_t* read) {
  absl::MutexLock lock(&disk_->mutex_);
  if (const int error = disk_->Begin(boot_, false)) return error;
  const Node& node = *node_;
  *read = offset < node.size ? std::min<uint64_t>(out.size(), node.size - offset) : 0;
  for (size_t done = 0; done < *read;) {
    const uint64_t at = offset + done;
    const uint64_t within = at % kBlockBytes;
    const size_t part = std::min<uint64_t>(*read - done, kBlockBytes - within);
    const auto block = node.now.find(at / kBlockBytes);
    if (block == node.now.end()) {
      std::memset(out.data() + done, 0, part);
    } else {
      std::memcpy(out.data() + done, block->second->data() + within, part);
    }
    done += part;
  }
  return 0;
}

int SimulatedDisk::OpenFile::Write(uint64_t offset, std::span<const std::byte> bytes) {
  absl::MutexLock lock(&disk_->mutex_);
  if (const int error = disk_->Begin(boot_, true)) return error;
  Node& node = *node_;
  for (size_t done = 0; done < bytes.size();) {
    const uint64_t at = offset + done;
    const uint64_t within = at % kBlockBytes;
    const size_t part = std::min<uint64_t>(bytes.size() - done, kBlockBytes - within);
    const auto old = node.now.find(at / kBlockBytes);
    auto block = old == node.now.end() ? std::make_shared<Bytes>()
                                       : std::make_shared<Bytes>(*old->second);
    if (old == node.now.end()) block->fill(std::byte{0});
    std::memcpy(block->data() + within, bytes.data() + done, part);
    if (!disk_->Put(node, at / kBlockBytes, std::move(block))) return ENOSPC;
    done += part;
    node.size = std::max(node.size, offset + done);
  }
  return 0;
}

int SimulatedDisk::OpenFile::Sync() {
  absl::MutexLock lock(&disk_->mutex_);
  Node& node = *node_;
  if (const int error = disk_->Begin(boot_, true)) {
    if (boot_ == disk_->boot_ && !disk_->off_) {
      node.lost.insert(node.dirty.begin(), node.dirty.end());
      node.dirty.clear();
    }
    return error;
  }
  for (const uint64_t number : node.dirty) {
    // Written again since a sync lost it: then all of it is in what is synced now.
    node.lost.erase(number);
    const auto block = node.now.find(number);
    if (block == node.now.end()) {
      node.durable.erase(number);
    } else {
      node.durable[number] = block->second;
    }
  }
  node.dirty.clear();
  node.durable_size = node.size;
  return 0;
}

int SimulatedDisk::OpenFile::Truncate(uint64_t size) {
  absl::MutexLock lock(&disk_->mutex_);
  if (const int error = disk_->Begin(boot_, true)) return error;
  disk_->Resize(*node_, size);
  return 0;
}

int SimulatedDisk::OpenFile::Allocate(uint64_t size) {
  absl::MutexLock lock(&disk_->mutex_);
  if (const int error = disk_->Begin(boot_, true)) return error;
  for (uint64_t number = 0; number < BlocksOf(size); ++number) {
    if (node_->now.contains(number)) continue;
    auto zeros = std::make_shared<Bytes>();
    zeros->fill(std::byte{0});
    if (!disk_->Put(*node_, number, std::move(zeros))) return ENOSPC;
  }
  node_->size = std::max(node_->size, size);
  return 0;
}

int SimulatedDisk::OpenFile::Punch(uint64_t offset, uint64_t length) {
  absl::MutexLock lock(&disk_->mutex_);
  if (const int error = disk_->Begin(boot_, true)) return error;
  if (offset % kBlockBytes != 0 || length % kBlockBytes != 0) return EINVAL;
  const uint64_t end = (offset + length) / kBlockBytes;
  for (uint64_t number = offset / kBlockBytes; number < end; ++number) {
    if (node_->now.contains(number)) disk_->Put(*node_, number, nullptr);
  }
  return 0;
}

int SimulatedDisk::OpenFile::Size(uint64_t* size) {
  absl::MutexLock lock(&disk_->mutex_);
  if (const int error = disk_->Begin(boot_, false)) return error;
  *size = node_->size;
  return 0;
}

int SimulatedDisk::OpenFile::AllocatedBytes(uint64_t* bytes) {
  absl::MutexLock lock(&disk_->mutex_);
  if (const int error = disk_->Begin(boot_, false)) return error;
  *bytes = node_->now.size() * kBlockBytes;
  return 0;
}

}  // namespace ckptd::os
