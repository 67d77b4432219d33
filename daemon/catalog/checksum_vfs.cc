#include "daemon/catalog/checksum_vfs.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <map>
#include <memory>
#include <new>
#include <span>
#include <utility>
#include <vector>

#include <absl/synchronization/mutex.h>
#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <sqlite3.h>

#include "daemon/catalog/page_sum.h"
#include "daemon/catalog/wal_memory.h"

namespace ckptd::catalog {
namespace {

constexpr std::string_view kMagic("SQLite format 3\0", 16);
constexpr int kHeaderBytes = 100;
// At once by FindBadPage.
constexpr size_t kScanBytes = 256 << 10;
// That parts of pages may be read without the page (newer libraries ask).
constexpr int kSubPageReads = 0x8000;

// What all connections of the process to one database share.
struct Shared {
  // Of the database's pages; 0: they carry no checksums.
  std::atomic<uint32_t> page_bytes = 0;
  WalIndex index;
  WalSums sums;

  // Takes what page 1 begins with.
  void SetHeader(const std::byte* header) {
    if (std::memcmp(header, kMagic.data(), kMagic.size()) != 0) return;
    const auto at = [&](int i) { return std::to_integer<uint32_t>(header[i]); };
    const uint32_t stored = at(16) << 8 | at(17);
    page_bytes = at(20) == kPageSumBytes ? (stored == 1 ? 65536 : stored) : 0;
  }
};

std::shared_ptr<Shared> SharedOf(const std::string& path) {
  static absl::Mutex mutex(absl::kConstInit);
  static auto& all = *new std::map<std::string, std::weak_ptr<Shared>>();
  absl::MutexLock lock(&mutex);
  std::erase_if(all, [](const auto& entry) { return entry.second.expired(); });
  std::shared_ptr<Shared> shared = all[path].lock();
  if (shared == nullptr) all[path] = shared = std::make_shared<Shared>();
  return shared;
}

// The database or its log. The file of the VFS below follows it in memory.
struct GuardedFile : sqlite3_file {
  bool is_log = false;
  std::string path;
  std::shared_ptr<Shared> shared;
  WalIndex::Held held;

  sqlite3_file* real() { return reinterpret_cast<sqlite3_file*>(this + 1); }
};

GuardedFile* Of(sqlite3_file* file) { return static_cast<GuardedFile*>(file); }

std::span<const std::byte> Bytes(const void* data, int length) {
  return {static_cast<const std::byte*>(data), static_cast<size_t>(length)};
}

int Damaged(GuardedFile* file, const std::string& what) {
  spdlog::error("{}: {} is damaged", file->path, what);
  return SQLITE_IOERR_DATA;
}

// ---- Reading -----------------------------------------------------------------

int ReadPages(GuardedFile* file, uint32_t page_bytes, std::span<std::byte> out, uint64_t offset) {
  const int code = file->real()->pMethods->xRead(
      file->real(), out.data(), static_cast<int>(out.size()), static_cast<sqlite3_int64>(offset));
  // Every page up to the end was written (FillGap): one cut short is damage.
  if (code != SQLITE_OK && code != SQLITE_IOERR_SHORT_READ) return code;
  uint64_t number = offset / page_bytes;
  for (size_t at = 0; at < out.size(); at += page_bytes) {
    if (!HasGoodSum(out.subspan(at, page_bytes), ++number)) {
      return Damaged(file, fmt::format("page {}", number));
    }
  }
  return SQLITE_OK;
}

int ReadDatabase(GuardedFile* file, void* out, int length, sqlite3_int64 offset) {
  const uint32_t page_bytes = file->shared->page_bytes;
  // The header is looked at before any lock is held, when page 1 may be under way.
  const bool header = offset == 0 && length == kHeaderBytes;
  if (page_bytes == 0 || header) {
    return file->real()->pMethods->xRead(file->real(), out, length, offset);
  }
  const auto from = static_cast<uint64_t>(offset), end = from + static_cast<uint64_t>(length);
  if (from % page_bytes == 0 && end % page_bytes == 0) {
    return ReadPages(file, page_bytes, {static_cast<std::byte*>(out), end - from}, from);
  }
  const uint64_t first = from / page_bytes * page_bytes;
  std::vector<std::byte> pages((end - first + page_bytes - 1) / page_bytes * page_bytes);
  const int code = ReadPages(file, page_bytes, pages, first);
  if (code == SQLITE_OK) std::memcpy(out, pages.data() + (from - first), end - from);
  return code;
}

int Read(sqlite3_file* base, void* out, int length, sqlite3_int64 offset) {
  GuardedFile* file = Of(base);
  if (!file->is_log) return ReadDatabase(file, out, length, offset);
  const int code = file->real()->pMethods->xRead(file->real(), out, length, offset);
  if (code == SQLITE_OK &&
      !file->shared->sums.Check(static_cast<uint64_t>(offset), Bytes(out, length))) {
    return Damaged(file, fmt::format("what was written at {}", offset));
  }
  return code;
}

// ---- Writing -----------------------------------------------------------------

int WritePage(GuardedFile* file, std::span<const std::byte> page, uint64_t number) {
  thread_local std::vector<std::byte> copy;
  copy.assign(page.begin(), page.end());
  SetPageSum(copy, number);
  return file->real()->pMethods->xWrite(file->real(), copy.data(), static_cast<int>(copy.size()),
                                        static_cast<sqlite3_int64>((number - 1) * page.size()));
}

// Pages that SQLite allocated and never wrote: so that all pages up to `size`
// carry checksums.
int FillGap(GuardedFile* file, uint32_t page_bytes, uint64_t size) {
  sqlite3_int64 end = 0;
  if (const int code = file->real()->pMethods->xFileSize(file->real(), &end); code != SQLITE_OK) {
    return code;
  }
  const std::vector<std::byte> zeros(static_cast<uint64_t>(end) < size ? page_bytes : 0);
  for (uint64_t at = static_cast<uint64_t>(end) / page_bytes; at < size / page_bytes; ++at) {
    if (const int code = WritePage(file, zeros, at + 1); code != SQLITE_OK) return code;
  }
  return SQLITE_OK;
}

int Write(sqlite3_file* base, const void* data, int length, sqlite3_int64 offset) {
  GuardedFile* file = Of(base);
  const std::span<const std::byte> bytes = Bytes(data, length);
  if (file->is_log) {
    // Before: a write that fails may have changed anything.
    file->shared->sums.Written(static_cast<uint64_t>(offset), bytes);
    return file->real()->pMethods->xWrite(file->real(), data, length, offset);
  }
  if (offset == 0 && length >= kHeaderBytes) file->shared->SetHeader(bytes.data());
  const uint32_t page_bytes = file->shared->page_bytes;
  if (page_bytes == 0) {
    return file->real()->pMethods->xWrite(file->real(), data, length, offset);
  }
  const auto at = static_cast<uint64_t>(offset);
  if (bytes.size() != page_bytes || at % page_bytes != 0) {
    return Damaged(file, fmt::format("a write of {} bytes at {}", length, offset));
  }
  if (const int code = FillGap(file, page_bytes, at); code != SQLITE_OK) return code;
  return WritePage(file, bytes, at / page_bytes + 1);
}

int Truncate(sqlite3_file* base, sqlite3_int64 size) {
  GuardedFile* file = Of(base);
  if (file->is_log) {
    file->shared->sums.Truncated(static_cast<uint64_t>(size));
  } else if (const uint32_t page_bytes = file->shared->page_bytes; page_bytes != 0) {
    if (const int code = FillGap(file, page_bytes, static_cast<uint64_t>(size));
        code != SQLITE_OK) {
      return code;
    }
  }
  const int code = file->real()->pMethods->xTruncate(file->real(), size);
  // As when what created it was cut short: SQLite reads on, where no page is.
  if (code == SQLITE_OK && !file->is_log && size == 0) file->shared->page_bytes = 0;
  return code;
}

// ---- Passed on, and the index of the log ----------------------------------------

int Close(sqlite3_file* base) {
  GuardedFile* file = Of(base);
  const int code = file->real()->pMethods->xClose(file->real());
  file->~GuardedFile();
  return code;
}

int Sync(sqlite3_file* base, int flags) {
  return Of(base)->real()->pMethods->xSync(Of(base)->real(), flags);
}
int FileSize(sqlite3_file* base, sqlite3_int64* size) {
  return Of(base)->real()->pMethods->xFileSize(Of(base)->real(), size);
}
int Lock(sqlite3_file* base, int level) {
  return Of(base)->real()->pMethods->xLock(Of(base)->real(), level);
}
int Unlock(sqlite3_file* base, int level) {
  return Of(base)->real()->pMethods->xUnlock(Of(base)->real(), level);
}
int CheckReservedLock(sqlite3_file* base, int* reserved) {
  return Of(base)->real()->pMethods->xCheckReservedLock(Of(base)->real(), reserved);
}
int FileControl(sqlite3_file* base, int op, void* arg) {
  return Of(base)->real()->pMethods->xFileControl(Of(base)->real(), op, arg);
}
int SectorSize(sqlite3_file* base) {
  return Of(base)->real()->pMethods->xSectorSize(Of(base)->real());
}
int DeviceCharacteristics(sqlite3_file* base) {
  return Of(base)->real()->pMethods->xDeviceCharacteristics(Of(base)->real()) & ~kSubPageReads;
}

int ShmMap(sqlite3_file* base, int region, int bytes, int extend, void volatile** out) {
  *out = Of(base)->shared->index.Region(Of(base)->held, region, bytes, extend != 0);
  return SQLITE_OK;
}
int ShmLock(sqlite3_file* base, int first, int count, int flags) {
  GuardedFile* file = Of(base);
  WalIndex& index = file->shared->index;
  if ((flags & SQLITE_SHM_UNLOCK) != 0) {
    index.Unlock(file->held, first, count);
    return SQLITE_OK;
  }
  const bool got = (flags & SQLITE_SHM_SHARED) != 0 ? index.LockShared(file->held, first)
                                                    : index.LockExclusive(file->held, first, count);
  return got ? SQLITE_OK : SQLITE_BUSY;
}
void ShmBarrier(sqlite3_file*) { std::atomic_thread_fence(std::memory_order_seq_cst); }
int ShmUnmap(sqlite3_file* base, int) {
  Of(base)->shared->index.Leave(Of(base)->held);
  return SQLITE_OK;
}

// Version 2: with the index of the log, without memory-mapped reads.
constexpr sqlite3_io_methods kMethods = {2,
                                         Close,
                                         Read,
                                         Write,
                                         Truncate,
                                         Sync,
                                         FileSize,
                                         Lock,
                                         Unlock,
                                         CheckReservedLock,
                                         FileControl,
                                         SectorSize,
                                         DeviceCharacteristics,
                                         ShmMap,
                                         ShmLock,
                                         ShmBarrier,
                                         ShmUnmap,
                                         nullptr,
                                         nullptr};

// ---- The VFS ---------------------------------------------------------------------

sqlite3_vfs* Below(sqlite3_vfs* vfs) { return static_cast<sqlite3_vfs*>(vfs->pAppData); }

int Open(sqlite3_vfs* vfs, const char* name, sqlite3_file* out, int flags, int* out_flags) {
  sqlite3_vfs* below = Below(vfs);
  const bool is_log = (flags & SQLITE_OPEN_WAL) != 0;
  if (!is_log && (flags & SQLITE_OPEN_MAIN_DB) == 0) {
    return below->xOpen(below, name, out, flags, out_flags);
  }
  auto* file = new (out) GuardedFile();
  file->is_log = is_log;
  file->path = name;
  file->shared = is_log ? Of(sqlite3_database_file_object(name))->shared : SharedOf(name);
  int code = below->xOpen(below, name, file->real(), flags, out_flags);
  if (code != SQLITE_OK) {
    file->~GuardedFile();
    out->pMethods = nullptr;  // SQLite does not close what did not open
    return code;
  }
  file->pMethods = &kMethods;
  std::byte header[kHeaderBytes];
  if (!is_log && file->shared->page_bytes == 0 &&
      file->real()->pMethods->xRead(file->real(), header, kHeaderBytes, 0) == SQLITE_OK) {
    file->shared->SetHeader(header);
  }
  return SQLITE_OK;
}

struct Registered {
  explicit Registered(sqlite3_vfs* below) : name("ckptd-checksum-" + std::string(below->zName)) {
    SetBelow(below);
    vfs.iVersion = 1;
    vfs.zName = name.c_str();
    vfs.xOpen = Open;
    vfs.xDelete = [](sqlite3_vfs* v, const char* path, int sync_dir) {
      return Below(v)->xDelete(Below(v), path, sync_dir);
    };
    vfs.xAccess = [](sqlite3_vfs* v, const char* path, int flags, int* out) {
      return Below(v)->xAccess(Below(v), path, flags, out);
    };
    vfs.xFullPathname = [](sqlite3_vfs* v, const char* path, int length, char* out) {
      return Below(v)->xFullPathname(Below(v), path, length, out);
    };
    vfs.xRandomness = [](sqlite3_vfs* v, int length, char* out) {
      return Below(v)->xRandomness(Below(v), length, out);
    };
    vfs.xSleep = [](sqlite3_vfs* v, int micros) { return Below(v)->xSleep(Below(v), micros); };
    vfs.xCurrentTime = [](sqlite3_vfs* v, double* out) {
      return Below(v)->xCurrentTime(Below(v), out);
    };
    vfs.xGetLastError = [](sqlite3_vfs* v, int length, char* out) {
      return Below(v)->xGetLastError(Below(v), length, out);
    };
  }
  void SetBelow(sqlite3_vfs* below) {
    vfs.szOsFile = static_cast<int>(sizeof(GuardedFile)) + below->szOsFile;
    vfs.mxPathname = below->mxPathname;
    vfs.pAppData = below;
  }

  const std::string name;
  sqlite3_vfs vfs = {};
};

// The database file of the connection; nullptr where it is not one of ours.
GuardedFile* FileOf(sqlite3* db) {
  sqlite3_file* file = nullptr;
  if (sqlite3_file_control(db, "main", SQLITE_FCNTL_FILE_POINTER, &file) != SQLITE_OK) {
    return nullptr;
  }
  return file != nullptr && file->pMethods == &kMethods ? Of(file) : nullptr;
}

}  // namespace

absl::StatusOr<std::string> ChecksumVfs(const std::string& base) {
  static absl::Mutex mutex(absl::kConstInit);
  static auto& all = *new std::map<std::string, std::unique_ptr<Registered>>();
  absl::MutexLock lock(&mutex);
  sqlite3_vfs* below = sqlite3_vfs_find(base.empty() ? nullptr : base.c_str());
  if (below == nullptr) {
    return ckpt::MakeError(absl::StatusCode::kInternal, ckpt::reason::kInternal,
                           fmt::format("SQLite has no VFS \"{}\".", base));
  }
  std::unique_ptr<Registered>& registered = all[below->zName];
  if (registered != nullptr) {
    // The one below may be another by now, of the same name. While it is the same,
    // other threads open files through it.
    if (registered->vfs.pAppData != below) registered->SetBelow(below);
  } else {
    registered = std::make_unique<Registered>(below);
    // SQLite puts it second, and makes the second the default when the first goes.
    sqlite3_vfs* second = below->pNext;
    sqlite3_vfs_register(&registered->vfs, /*makeDflt=*/0);
    if (second != nullptr) sqlite3_vfs_register(second, /*makeDflt=*/0);
  }
  return registered->name;
}

bool IsGuarded(sqlite3* db) {
  const GuardedFile* file = FileOf(db);
  return file != nullptr && file->shared->page_bytes != 0;
}

bool IsOnlyUser(sqlite3* db) {
  const GuardedFile* file = FileOf(db);
  // The database and, once it was looked for, its log.
  return file != nullptr && file->shared.use_count() <= 2;
}

absl::StatusOr<uint64_t> FindBadPage(sqlite3* db) {
  GuardedFile* file = FileOf(db);
  const auto failed = [&](int code) {
    return ckpt::MakeError(absl::StatusCode::kUnavailable, ckpt::reason::kIoError,
                           fmt::format("The catalog {} cannot be read (SQLite code {}).",
                                       file == nullptr ? "" : file->path, code));
  };
  if (file == nullptr) return failed(SQLITE_MISUSE);
  const uint64_t page_bytes = file->shared->page_bytes;
  sqlite3_int64 size = 0;
  if (const int code = file->real()->pMethods->xFileSize(file->real(), &size);
      code != SQLITE_OK || page_bytes == 0) {
    return failed(code);
  }
  const auto end = static_cast<uint64_t>(size);
  std::vector<std::byte> pages(kScanBytes / page_bytes * page_bytes);
  for (uint64_t offset = 0; offset < end; offset += pages.size()) {
    const size_t length = std::min<uint64_t>(pages.size(), end - offset);
    const int code = file->real()->pMethods->xRead(
        file->real(), pages.data(), static_cast<int>(length), static_cast<sqlite3_int64>(offset));
    if (code != SQLITE_OK) return failed(code);
    for (size_t at = 0; at < length; at += page_bytes) {
      const uint64_t number = (offset + at) / page_bytes + 1;
      if (at + page_bytes > length || !HasGoodSum({pages.data() + at, page_bytes}, number)) {
        return number;
      }
    }
  }
  return 0;
}

}  // namespace ckptd::catalog
