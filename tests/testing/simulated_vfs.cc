// The interface is https://sqlite.org/c3ref/vfs.html and
// https://sqlite.org/c3ref/io_methods.html; what the locks of a WAL database mean,
// https://sqlite.org/walformat.html.
#include "tests/testing/simulated_vfs.h"

#include <cstring>
#include <new>
#include <vector>

#include <sqlite3.h>

#include "daemon/os/file_system.h"

namespace ckptd::os {

struct SimulatedVfs::Shared {
  absl::Mutex mutex;
  // Locks of the file: readers, and who wants to write or writes.
  int readers = 0;
  const void* reserved = nullptr;
  const void* pending = nullptr;
  const void* exclusive = nullptr;
  // The memory beside a WAL, and its locks.
  std::vector<std::unique_ptr<char[]>> regions;
  struct Slot {
    int readers = 0;
    const void* writer = nullptr;
  };
  Slot slots[SQLITE_SHM_NLOCK];
};

namespace {

constexpr char kName[] = "simulated";

// SQLite allocates it, and knows of `base` alone.
struct VfsFile {
  sqlite3_file base;
  SimulatedVfs* vfs;
  std::unique_ptr<SimulatedDisk::OpenFile> file;
  std::shared_ptr<SimulatedVfs::Shared> shared;
  std::string path;
  int level = SQLITE_LOCK_NONE;
  uint32_t shm_shared = 0, shm_exclusive = 0;  // slots held, a bit each
  bool name_to_sync = false;
  bool delete_on_close = false;
};

VfsFile& Of(sqlite3_file* file) { return *reinterpret_cast<VfsFile*>(file); }
SimulatedVfs& Of(sqlite3_vfs* vfs) { return *static_cast<SimulatedVfs*>(vfs->pAppData); }

int Code(int error, int io_error) {
  if (error == 0) return SQLITE_OK;
  return error == ENOSPC ? SQLITE_FULL : io_error;
}

int Unlock(sqlite3_file* base, int level) {
  VfsFile& file = Of(base);
  SimulatedVfs::Shared& shared = *file.shared;
  absl::MutexLock lock(&shared.mutex);
  if (file.level <= level) return SQLITE_OK;
  for (const void** held : {&shared.reserved, &shared.pending, &shared.exclusive}) {
    if (*held == base) *held = nullptr;
  }
  if (level == SQLITE_LOCK_NONE) --shared.readers;
  file.level = level;
  return SQLITE_OK;
}

int Lock(sqlite3_file* base, int level) {
  VfsFile& file = Of(base);
  SimulatedVfs::Shared& shared = *file.shared;
  absl::MutexLock lock(&shared.mutex);
  const auto others = [&](const void* held) { return held != nullptr && held != base; };
  if (file.level >= level) return SQLITE_OK;
  if (level == SQLITE_LOCK_SHARED) {
    if (others(shared.exclusive) || others(shared.pending)) return SQLITE_BUSY;
    ++shared.readers;
  } else if (level == SQLITE_LOCK_RESERVED) {
    if (others(shared.reserved)) return SQLITE_BUSY;
    shared.reserved = base;
  } else {
    if (others(shared.pending) || others(shared.reserved)) return SQLITE_BUSY;
    shared.pending = base;
    if (shared.readers > 1) return SQLITE_BUSY;  // besides this one
    shared.exclusive = base;
  }
  file.level = level;
  return SQLITE_OK;
}

int ShmUnmap(sqlite3_file* base, int remove) {
  VfsFile& file = Of(base);
  absl::MutexLock lock(&file.shared->mutex);
  for (int slot = 0; slot < SQLITE_SHM_NLOCK; ++slot) {
    if (file.shm_shared >> slot & 1) --file.shared->slots[slot].readers;
    if (file.shm_exclusive >> slot & 1) file.shared->slots[slot].writer = nullptr;
  }
  file.shm_shared = file.shm_exclusive = 0;
  if (remove) file.shared->regions.clear();
  return SQLITE_OK;
}

int Close(sqlite3_file* base) {
  VfsFile& file = Of(base);
  Unlock(base, SQLITE_LOCK_NONE);
  ShmUnmap(base, 0);
  if (file.delete_on_close) file.vfs->disk().Remove(file.path);
  file.~VfsFile();
  return SQLITE_OK;
}

int Read(sqlite3_file* base, void* out, int amount, sqlite3_int64 offset) {
  const std::span into(static_cast<std::byte*>(out), static_cast<size_t>(amount));
  size_t read = 0;
  if (Of(base).file->Read(static_cast<uint64_t>(offset), into, &read) != 0) {
    return SQLITE_IOERR_READ;
  }
  if (read == into.size()) return SQLITE_OK;
  std::memset(into.data() + read, 0, into.size() - read);
  return SQLITE_IOERR_SHORT_READ;
}

int Write(sqlite3_file* base, const void* from, int amount, sqlite3_int64 offset) {
  const std::span bytes(static_cast<const std::byte*>(from), static_cast<size_t>(amount));
  return Code(Of(base).file->Write(static_cast<uint64_t>(offset), bytes), SQLITE_IOERR_WRITE);
}

int Truncate(sqlite3_file* base, sqlite3_int64 size) {
  return Code(Of(base).file->Truncate(static_cast<uint64_t>(size)), SQLITE_IOERR_TRUNCATE);
}

// As the one for Unix: the first sync of a new journal makes its name last, too.
int Sync(sqlite3_file* base, int) {
  VfsFile& file = Of(base);
  if (file.file->Sync() != 0) return SQLITE_IOERR_FSYNC;
  if (!file.name_to_sync) return SQLITE_OK;
  file.name_to_sync = false;
  return file.vfs->disk().SyncDir(ParentDir(file.path)) == 0 ? SQLITE_OK : SQLITE_IOERR_DIR_FSYNC;
}

int FileSize(sqlite3_file* base, sqlite3_int64* size) {
  uint64_t bytes = 0;
  const int error = Of(base).file->Size(&bytes);
  *size = static_cast<sqlite3_int64>(bytes);
  return Code(error, SQLITE_IOERR_FSTAT);
}

int CheckReservedLock(sqlite3_file* base, int* held) {
  SimulatedVfs::Shared& shared = *Of(base).shared;
  absl::MutexLock lock(&shared.mutex);
  *held = shared.reserved != nullptr;
  return SQLITE_OK;
}

int FileControl(sqlite3_file*, int, void*) { return SQLITE_NOTFOUND; }
int SectorSize(sqlite3_file*) { return 4096; }
int DeviceCharacteristics(sqlite3_file*) { return SQLITE_IOCAP_POWERSAFE_OVERWRITE; }

int ShmMap(sqlite3_file* base, int region, int size, int extend, void volatile** out) {
  SimulatedVfs::Shared& shared = *Of(base).shared;
  absl::MutexLock lock(&shared.mutex);
  *out = nullptr;
  const auto index = static_cast<size_t>(region);
  if (shared.regions.size() <= index && !extend) return SQLITE_OK;
  while (shared.regions.size() <= index) {
    shared.regions.push_back(std::make_unique<char[]>(static_cast<size_t>(size)));
  }
  *out = shared.regions[index].get();
  return SQLITE_OK;
}

int ShmLock(sqlite3_file* base, int first, int count, int flags) {
  VfsFile& file = Of(base);
  SimulatedVfs::Shared& shared = *file.shared;
  absl::MutexLock lock(&shared.mutex);
  const bool exclusive = (flags & SQLITE_SHM_EXCLUSIVE) != 0;
  if ((flags & SQLITE_SHM_LOCK) != 0) {
    for (int i = first; i < first + count; ++i) {
      const SimulatedVfs::Shared::Slot& slot = shared.slots[i];
      const int own = static_cast<int>(file.shm_shared >> i & 1);
      if (slot.writer != nullptr && slot.writer != base) return SQLITE_BUSY;
      if (exclusive && slot.readers > own) return SQLITE_BUSY;
    }
  }
  for (int i = first; i < first + count; ++i) {
    SimulatedVfs::Shared::Slot& slot = shared.slots[i];
    const uint32_t bit = uint32_t{1} << i;
    if ((flags & SQLITE_SHM_UNLOCK) != 0) {
      if (file.shm_shared & bit) --slot.readers;
      if (file.shm_exclusive & bit) slot.writer = nullptr;
      file.shm_shared &= ~bit;
      file.shm_exclusive &= ~bit;
    } else if (exclusive) {
      slot.writer = base;
      file.shm_exclusive |= bit;
    } else if (!(file.shm_shared & bit)) {
      ++slot.readers;
      file.shm_shared |= bit;
    }
  }
  return SQLITE_OK;
}

void ShmBarrier(sqlite3_file* base) {
  absl::MutexLock lock(&Of(base).shared->mutex);  // whose taking is a barrier
}

const sqlite3_io_methods kMethods = {
    .iVersion = 2,
    .xClose = Close,
    .xRead = Read,
    .xWrite = Write,
    .xTruncate = Truncate,
    .xSync = Sync,
    .xFileSize = FileSize,
    .xLock = Lock,
    .xUnlock = Unlock,
    .xCheckReservedLock = CheckReservedLock,
    .xFileControl = FileControl,
    .xSectorSize = SectorSize,
    .xDeviceCharacteristics = DeviceCharacteristics,
    .xShmMap = ShmMap,
    .xShmLock = ShmLock,
    .xShmBarrier = ShmBarrier,
    .xShmUnmap = ShmUnmap,
    .xFetch = nullptr,
    .xUnfetch = nullptr,
};

int Open(sqlite3_vfs* base, const char* name, sqlite3_file* out, int flags, int* out_flags) {
  SimulatedVfs& vfs = Of(base);
  static std::atomic<uint64_t> unnamed = 0;
  const std::string path =
      name != nullptr ? name : "/unnamed-" + std::to_string(++unnamed);
  const bool create = (flags & SQLITE_OPEN_CREATE) != 0;
  const bool is_new = create && !vfs.disk().Exists(path);
  std::unique_ptr<SimulatedDisk::OpenFile> file;
  out->pMethods = nullptr;
  const int error = vfs.disk().Open(
      path, {.create = create, .exclusive = (flags & SQLITE_OPEN_EXCLUSIVE) != 0}, &file);
  if (error != 0) return error == ENOSPC ? SQLITE_FULL : SQLITE_CANTOPEN;
  auto* made = new (out) VfsFile{};
  made->vfs = &vfs;
  made->file = std::move(file);
  made->shared = vfs.SharedOf(path);
  made->path = path;
  const int journal = SQLITE_OPEN_MAIN_JOURNAL | SQLITE_OPEN_SUPER_JOURNAL | SQLITE_OPEN_WAL;
  made->name_to_sync = is_new && (flags & journal) != 0;
  made->delete_on_close = (flags & SQLITE_OPEN_DELETEONCLOSE) != 0;
  made->base.pMethods = &kMethods;
  if (out_flags != nullptr) *out_flags = flags;
  return SQLITE_OK;
}

int Delete(sqlite3_vfs* base, const char* name, int sync_dir) {
  SimulatedDisk& disk = Of(base).disk();
  const int error = disk.Remove(name);
  if (error == ENOENT) return SQLITE_IOERR_DELETE_NOENT;
  if (error != 0) return SQLITE_IOERR_DELETE;
  return sync_dir ? Code(disk.SyncDir(ParentDir(name)), SQLITE_IOERR_DIR_FSYNC) : SQLITE_OK;
}

int Access(sqlite3_vfs* base, const char* name, int flags, int* result) {
  std::unique_ptr<SimulatedDisk::OpenFile> file;
  uint64_t size = 0;
  *result = Of(base).disk().Exists(name);
  // As the one for Unix: an empty file is none.
  if (*result && flags == SQLITE_ACCESS_EXISTS && Of(base).disk().Open(name, {}, &file) == 0) {
    *result = file->Size(&size) == 0 && size > 0;
  }
  return SQLITE_OK;
}

int FullPathname(sqlite3_vfs*, const char* name, int size, char* out) {
  sqlite3_snprintf(size, out, "%s", name);
  return SQLITE_OK;
}

}  // namespace

SimulatedVfs::SimulatedVfs(SimulatedDisk* disk) : disk_(*disk) {
  // Time and randomness stay those of the system's.
  vfs_ = std::make_unique<sqlite3_vfs>(*sqlite3_vfs_find(nullptr));
  vfs_->iVersion = 2;
  vfs_->szOsFile = sizeof(VfsFile);
  vfs_->pNext = nullptr;
  vfs_->zName = kName;
  vfs_->pAppData = this;
  vfs_->xOpen = Open;
  vfs_->xDelete = Delete;
  vfs_->xAccess = Access;
  vfs_->xFullPathname = FullPathname;
  sqlite3_vfs_register(vfs_.get(), /*makeDflt=*/1);
}

SimulatedVfs::~SimulatedVfs() { sqlite3_vfs_unregister(vfs_.get()); }

std::shared_ptr<SimulatedVfs::Shared> SimulatedVfs::SharedOf(const std::string& path) {
  absl::MutexLock lock(&mutex_);
  std::shared_ptr<Shared> shared = shared_[path].lock();
  if (shared == nullptr) shared_[path] = shared = std::make_shared<Shared>();
  return shared;
}

}  // namespace ckptd::os
