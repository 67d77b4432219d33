#include "tests/testing/simulated_disk.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "daemon/os/file_system.h"

namespace ckptd::os {
namespace {

constexpr uint64_t kPlenty = uint64_t{1} << 40;

}  // namespace

uint64_t SimulatedDisk::BlocksOf(uint64_t bytes) {
  return (bytes + kBlockBytes - 1) / kBlockBytes;
}

// ---- What a test does to it ------------------------------------------------------

void SimulatedDisk::CutPowerAt(uint64_t n) {
  absl::MutexLock lock(&mutex_);
  cut_at_ = operations_ + n;
}

bool SimulatedDisk::AwaitCut(absl::Duration limit) {
  absl::MutexLock lock(&mutex_);
  return mutex_.AwaitWithTimeout(absl::Condition(&off_), limit);
}

void SimulatedDisk::PowerLost() {
  absl::MutexLock lock(&mutex_);
  off_ = released_ = true;
}

void SimulatedDisk::PowerOn(Random& random) {
  absl::MutexLock lock(&mutex_);
  // Of ten changes that were not synced: none, all, or a few.
  const int kept = std::array{0, 10, 1, 3, 5, 7, 9}[random() % 7];
  const auto keeps = [&] { return static_cast<int>(random() % 10) < kept; };
  std::set<std::string> names;
  for (const auto& [path, node] : now_) names.insert(path);
  for (const auto& [path, node] : durable_) names.insert(path);
  std::map<std::string, bool> chosen;  // whether the name is as it is now
  for (const std::string& path : names) chosen[path] = keeps();
  for (const auto& [to, from] : moves_) chosen[from] = chosen[to];
  Names left;
  for (const std::string& path : names) {  // a directory comes before what is in it
    const Names& from = chosen[path] ? now_ : durable_;
    const auto found = from.find(path);
    const std::string parent = ParentDir(path);
    if (found == from.end() || (parent != "/" && !left.contains(parent))) continue;
    left.insert(*found);
  }
  std::set<Node*> settled;
  for (const auto& [path, node] : left) {
    if (settled.insert(node.get()).second) Settle(*node, random, kept);
  }
  now_ = durable_ = std::move(left);
  moves_.clear();
  locks_.clear();
  failures_.clear();
  cut_at_ = 0;
  off_ = released_ = false;
  ++boot_;
  Count();
}

// Chooses, sector by sector, between what was durable and what was written.
void SimulatedDisk::Settle(Node& node, Random& random, int kept_of_ten) {
  const auto keeps = [&] { return static_cast<int>(random() % 10) < kept_of_ten; };
  node.dirty.insert(node.lost.begin(), node.lost.end());
  for (const uint64_t number : node.dirty) {
    const auto now = node.now.find(number);
    const auto before = node.durable.find(number);
    const Block written = now == node.now.end() ? nullptr : now->second;
    const Block old = before == node.durable.end() ? nullptr : before->second;
    if (written == old) continue;
    auto mixed = std::make_shared<Bytes>();
    mixed->fill(std::byte{0});
    bool any = false;
    for (uint64_t at = 0; at < kBlockBytes; at += kSectorBytes) {
      const Block& from = keeps() ? written : old;
      if (from == nullptr) continue;
      std::copy_n(from->begin() + static_cast<long>(at), kSectorBytes,
                  mixed->begin() + static_cast<long>(at));
      any = true;
    }
    if (any) {
      node.now[number] = std::move(mixed);
    } else {
      node.now.erase(number);
    }
  }
  if (!keeps()) node.size = node.durable_size;
  node.now.erase(node.now.lower_bound(BlocksOf(node.size)), node.now.end());
  ZeroTail(node);
  node.durable = node.now;
  node.durable_size = node.size;
  node.dirty.clear();
  node.lost.clear();
}

void SimulatedDisk::FailNth(uint64_t n, int error) {
  absl::MutexLock lock(&mutex_);
  failures_[operations_ + n] = error;
}

void SimulatedDisk::FailNoMore() {
  absl::MutexLock lock(&mutex_);
  failures_.clear();
}

uint64_t SimulatedDisk::operations() const {
  absl::MutexLock lock(&mutex_);
  return operations_;
}

void SimulatedDisk::SetCapacity(std::optional<uint64_t> bytes) {
  absl::MutexLock lock(&mutex_);
  capacity_ = bytes;
}

std::vector<SimulatedDisk::FileAt> SimulatedDisk::Files() const {
  absl::MutexLock lock(&mutex_);
  std::vector<FileAt> files;
  for (const auto& [path, node] : now_) {
    if (!node->is_dir) files.push_back({path, node->size, node->now.size() * kBlockBytes});
  }
  return files;
}

void SimulatedDisk::FlipBit(const std::string& path, uint64_t bit) {
  absl::MutexLock lock(&mutex_);
  Node& node = *Find(path);
  const uint64_t number = bit / 8 / kBlockBytes;
  const auto found = node.now.find(number);
  auto flipped = found == node.now.end() ? std::make_shared<Bytes>()
                                         : std::make_shared<Bytes>(*found->second);
  if (found == node.now.end()) flipped->fill(std::byte{0});
  (*flipped)[bit / 8 % kBlockBytes] ^= std::byte{1} << (bit % 8);
  node.now[number] = node.durable[number] = std::move(flipped);
}

void SimulatedDisk::CutOff(const std::string& path, uint64_t size) {
  absl::MutexLock lock(&mutex_);
  Node& node = *Find(path);
  Resize(node, size);
  node.durable = node.now;
  node.durable_size = node.size;
}

void SimulatedDisk::Lose(const std::string& path) {
  absl::MutexLock lock(&mutex_);
  now_.erase(path);
  durable_.erase(path);
}

std::shared_ptr<const SimulatedDisk::Image> SimulatedDisk::Save() const {
  absl::MutexLock lock(&mutex_);
  auto image = std::make_shared<Image>();
  for (const auto& [path, node] : now_) image->files_[path] = *node;
  return image;
}

void SimulatedDisk::Load(const Image& image) {
  absl::MutexLock lock(&mutex_);
  now_.clear();
  for (const auto& [path, saved] : image.files_) {
    auto node = std::make_shared<Node>(saved);
    node->durable = node->now;
    node->durable_size = node->size;
    node->dirty.clear();
    node->lost.clear();
    now_[path] = std::move(node);
  }
  durable_ = now_;
  moves_.clear();
  locks_.clear();
  ++boot_;
  Count();
}

// ---- Insides ---------------------------------------------------------------------

int SimulatedDisk::Begin(uint64_t boot, bool changes) {
  if (changes && !off_ && ++operations_ == cut_at_) off_ = true;
  if (off_) {
    mutex_.Await(absl::Condition(&released_));
    return EIO;
  }
  if (boot != boot_) return EIO;
  if (!changes) return 0;
  const auto failure = failures_.find(operations_);
  return failure == failures_.end() ? 0 : failure->second;
}

std::shared_ptr<SimulatedDisk::Node> SimulatedDisk::Find(const std::string& path) const {
  const auto found = now_.find(path);
  return found == now_.end() ? nullptr : found->second;
}

bool SimulatedDisk::IsDir(const std::string& path) const {
  if (path == "/") return true;
  const std::shared_ptr<Node> node = Find(path);
  return node != nullptr && node->is_dir;
}

bool SimulatedDisk::Put(Node& node, uint64_t number, Block block) {
  const auto found = node.now.find(number);
  const bool had = found != node.now.end();
  if (!had && block != nullptr && capacity_ && (used_blocks_ + 1) * kBlockBytes > *capacity_) {
    return false;
  }
  node.dirty.insert(number);
  if (block == nullptr) {
    if (had) {
      node.now.erase(found);
      used_blocks_ -= node.named;
    }
  } else {
    node.now[number] = std::move(block);
    used_blocks_ += !had && node.named;
  }
  return true;
}

void SimulatedDisk::Resize(Node& node, uint64_t size) {
  if (size < node.size) {
    const uint64_t first = BlocksOf(size);
    while (!node.now.empty() && node.now.rbegin()->first >= first) {
      Put(node, node.now.rbegin()->first, nullptr);
    }
    node.size = size;
    ZeroTail(node);
    node.dirty.insert(size / kBlockBytes);
  }
  node.size = size;
}

// What lay behind the end must not come back when the file grows again.
void SimulatedDisk::ZeroTail(Node& node) {
  const auto last = node.now.find(node.size / kBlockBytes);
  if (node.size % kBlockBytes == 0 || last == node.now.end()) return;
  auto cut = std::make_shared<Bytes>(*last->second);
  std::fill(cut->begin() + static_cast<long>(node.size % kBlockBytes), cut->end(), std::byte{0});
  last->second = std::move(cut);
}

void SimulatedDisk::Free(Node& node) {
  used_blocks_ -= node.now.size();
  node.named = false;
}

void SimulatedDisk::Count() {
  used_blocks_ = 0;
  std::set<Node*> seen;
  for (const auto& [path, node] : now_) {
    if (seen.insert(node.get()).second) used_blocks_ += node->now.size();
    node->named = true;
  }
}

// ---- What a file system asks of it -------------------------------------------------

int SimulatedDisk::Open(const std::string& path, OpenHow how, std::unique_ptr<OpenFile>* file) {
  absl::MutexLock lock(&mutex_);
  std::shared_ptr<Node> node = Find(path);
  const bool changes = (node == nullptr && how.create) || (node != nullptr && how.truncate);
  if (const int error = Begin(changes)) return error;
  node = Find(path);  // the wait may have been long
  if (node == nullptr) {
    if (!how.create || !IsDir(ParentDir(path))) return ENOENT;
    node = now_[path] = std::make_shared<Node>();
  } else if (node->is_dir) {
    return EISDIR;
  } else if (how.create && how.exclusive) {
    return EEXIST;
  } else if (how.truncate) {
    Resize(*node, 0);
  }
  file->reset(new OpenFile(this, std::move(node), boot_));
  return 0;
}

int SimulatedDisk::SyncDir(const std::string& dir) {
  absl::MutexLock lock(&mutex_);
  if (const int error = Begin(true)) return error;
  if (!IsDir(dir)) return ENOENT;
  const auto is_in = [&](const std::string& path) { return ParentDir(path) == dir; };
  std::erase_if(durable_, [&](const auto& entry) {
    return is_in(entry.first) && !now_.contains(entry.first);
  });
  for (const auto& [path, node] : now_) {
    if (is_in(path)) durable_[path] = node;
  }
  std::erase_if(moves_, [&](const auto& move) { return is_in(move.first); });
  return 0;
}

int SimulatedDisk::MakeDirs(const std::string& dir, std::vector<std::string>* changed) {
  absl::MutexLock lock(&mutex_);
  std::vector<std::string> missing;  // innermost first
  for (std::string at = dir; !IsDir(at); at = ParentDir(at)) {
    if (Find(at) != nullptr) return ENOTDIR;
    missing.push_back(at);
  }
  if (const int error = Begin(!missing.empty())) return error;
  for (auto it = missing.rbegin(); it != missing.rend(); ++it) {
    auto node = std::make_shared<Node>();
    node->is_dir = true;
    now_[*it] = std::move(node);
    changed->push_back(ParentDir(*it));
  }
  return 0;
}

int SimulatedDisk::List(const std::string& dir, std::vector<std::string>* names) {
  absl::MutexLock lock(&mutex_);
  if (const int error = Begin(false)) return error;
  if (Find(dir) != nullptr && !IsDir(dir)) return ENOTDIR;
  if (!IsDir(dir)) return ENOENT;
  for (const auto& [path, node] : now_) {
    if (ParentDir(path) == dir) names->push_back(path.substr(path.rfind('/') + 1));
  }
  return 0;
}

int SimulatedDisk::Remove(const std::string& path) {
  absl::MutexLock lock(&mutex_);
  if (const int error = Begin(true)) return error;
  const std::shared_ptr<Node> node = Find(path);
  if (node == nullptr) return ENOENT;
  Free(*node);
  now_.erase(path);
  return 0;
}

int SimulatedDisk::Rename(const std::string& from, const std::string& to) {
  absl::MutexLock lock(&mutex_);
  if (const int error = Begin(true)) return error;
  const std::shared_ptr<Node> node = Find(from);
  if (node == nullptr) return ENOENT;
  if (const std::shared_ptr<Node> replaced = Find(to)) Free(*replaced);
  now_[to] = node;
  now_.erase(from);
  moves_[to] = from;
  return 0;
}

bool SimulatedDisk::Exists(const std::string& path) {
  absl::MutexLock lock(&mutex_);
  return Begin(false) == 0 && Find(path) != nullptr;
}

int SimulatedDisk::AllocatedBytes(const std::string& path, uint64_t* bytes) {
  absl::MutexLock lock(&mutex_);
  if (const int error = Begin(false)) return error;
  const std::shared_ptr<Node> node = Find(path);
  if (node == nullptr) return ENOENT;
  *bytes = node->now.size() * kBlockBytes;
  return 0;
}

uint64_t SimulatedDisk::FreeBytes() {
  absl::MutexLock lock(&mutex_);
  const uint64_t used = used_blocks_ * kBlockBytes;
  const uint64_t capacity = capacity_.value_or(kPlenty);
  return used < capacity ? capacity - used : 0;
}

int SimulatedDisk::Lock(const std::string& path) {
  absl::MutexLock lock(&mutex_);
  if (const int error = Begin(false)) return error;
  return locks_.insert(path).second ? 0 : EWOULDBLOCK;
}

void SimulatedDisk::Unlock(const std::string& path) {
  absl::MutexLock lock(&mutex_);
  locks_.erase(path);
}

}  // namespace ckptd::os
