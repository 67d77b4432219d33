// Preloaded into the daemon (LD_PRELOAD): lets the nth system call on files under
// a directory fail. A library of its own, so that SQLite's calls are met, too; of
// io_uring's, which pass by libc, none is.
//
//   CKPT_FAIL_UNDER   the directory; calls on other files are not looked at
//   CKPT_FAIL_AT      which of them, from 1, over all threads
//   CKPT_FAIL_HOW     an errno by number; "short": half of a write is written, any
//                     other call fails with EINTR; "kill": the process is killed
//                     before it; "after": it is killed after it
//   CKPT_FAIL_TOLD    a file to which the call that failed is written
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

#include <atomic>

namespace {

constexpr int kMostFiles = 65536;

std::atomic<long> calls = 0;
std::atomic<bool> watched[kMostFiles];

const char* Setting(const char* name) {
  const char* value = getenv(name);
  return value == nullptr ? "" : value;
}

template <typename Function>
Function* Real(const char* name) {
  return reinterpret_cast<Function*>(dlsym(RTLD_NEXT, name));
}

// Slashes that come twice count once.
bool IsUnder(const char* path) {
  static const char* under = Setting("CKPT_FAIL_UNDER");
  if (*under == '\0' || path == nullptr) return false;
  const char* expected = under;
  for (; *expected != '\0'; ++expected, ++path) {
    while (path[0] == '/' && path[1] == '/') ++path;
    if (*path != *expected) return false;
  }
  return true;
}
bool IsWatched(int fd) { return fd >= 0 && fd < kMostFiles && watched[fd]; }
int Watch(int fd, const char* path) {
  if (fd >= 0 && fd < kMostFiles) watched[fd] = IsUnder(path);
  return fd;
}

struct Verdict {
  bool fails = false;
  bool is_short = false;
  bool dies_after = false;
};

// Asked once for each call that is looked at.
Verdict Judge(const char* call, const char* what) {
  static const long at = atol(Setting("CKPT_FAIL_AT"));
  static const char* how = Setting("CKPT_FAIL_HOW");
  if (++calls != at) return {};
  if (const char* told = Setting("CKPT_FAIL_TOLD"); *told != '\0') {
    static auto* open_real = Real<int(const char*, int, ...)>("open");
    const int fd = open_real(told, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    char line[4200];
    const int size = snprintf(line, sizeof(line), "%s %s", call, what);
    if (fd >= 0) {
      (void)!write(fd, line, static_cast<size_t>(size));  // not one that is looked at
      close(fd);
    }
  }
  if (strcmp(how, "kill") == 0) kill(getpid(), SIGKILL);
  if (strcmp(how, "after") == 0) return {.dies_after = true};
  if (strcmp(how, "short") == 0) return {.fails = true, .is_short = true};
  errno = atoi(how);
  return {.fails = true};
}

template <typename Result>
Result After(const Verdict& verdict, Result result) {
  if (verdict.dies_after) kill(getpid(), SIGKILL);
  return result;
}

// Calls on a file that answer 0 or fail.
template <typename... Args>
int OnFile(const char* name, int (*real)(int, Args...), int fd, Args... args) {
  if (!IsWatched(fd)) return real(fd, args...);
  const Verdict verdict = Judge(name, "");
  if (verdict.fails) {
    if (verdict.is_short) errno = EINTR;
    return -1;
  }
  return After(verdict, real(fd, args...));
}

// Calls on a path that answer 0 or fail.
template <typename... Args>
int OnPath(const char* name, int (*real)(const char*, Args...), const char* path, Args... args) {
  if (!IsUnder(path)) return real(path, args...);
  const Verdict verdict = Judge(name, path);
  if (verdict.fails) {
    if (verdict.is_short) errno = EINTR;
    return -1;
  }
  return After(verdict, real(path, args...));
}

// Writes and reads, of which `real` does so many bytes.
template <typename Real>
ssize_t Transfer(const char* name, int fd, size_t size, Real real) {
  if (!IsWatched(fd)) return real(size);
  const Verdict verdict = Judge(name, "");
  if (!verdict.fails) return After(verdict, real(size));
  // Whole blocks, which is what direct I/O would write.
  const size_t half = size >= 8192 ? size / 2 / 4096 * 4096 : size / 2;
  if (verdict.is_short && half > 0) return real(half);
  if (verdict.is_short) errno = EINTR;
  return -1;
}

int Open(const char* name, const char* path, int flags, mode_t mode) {
  auto* real = Real<int(const char*, int, ...)>(name);
  if (!IsUnder(path)) return Watch(real(path, flags, mode), path);
  const Verdict verdict = Judge("open", path);
  if (verdict.fails) {
    if (verdict.is_short) errno = EINTR;
    return -1;
  }
  return After(verdict, Watch(real(path, flags, mode), path));
}

mode_t ModeOf(int flags, va_list arguments) {
  return (flags & (O_CREAT | O_TMPFILE)) != 0 ? va_arg(arguments, mode_t) : 0;
}

}  // namespace

extern "C" {

int open(const char* path, int flags, ...) {
  va_list arguments;
  va_start(arguments, flags);
  const mode_t mode = ModeOf(flags, arguments);
  va_end(arguments);
  return Open("open", path, flags, mode);
}
int open64(const char* path, int flags, ...) {
  va_list arguments;
  va_start(arguments, flags);
  const mode_t mode = ModeOf(flags, arguments);
  va_end(arguments);
  return Open("open64", path, flags, mode);
}
int close(int fd) {
  static auto* real = Real<int(int)>("close");
  Watch(fd, nullptr);
  return real(fd);
}

ssize_t write(int fd, const void* bytes, size_t size) {
  static auto* real = Real<ssize_t(int, const void*, size_t)>("write");
  return Transfer("write", fd, size, [&](size_t part) { return real(fd, bytes, part); });
}
ssize_t pwrite(int fd, const void* bytes, size_t size, off_t offset) {
  static auto* real = Real<ssize_t(int, const void*, size_t, off_t)>("pwrite");
  return Transfer("pwrite", fd, size, [&](size_t part) { return real(fd, bytes, part, offset); });
}
ssize_t pwrite64(int fd, const void* bytes, size_t size, off_t offset) {
  static auto* real = Real<ssize_t(int, const void*, size_t, off_t)>("pwrite64");
  return Transfer("pwrite", fd, size, [&](size_t part) { return real(fd, bytes, part, offset); });
}
ssize_t read(int fd, void* bytes, size_t size) {
  static auto* real = Real<ssize_t(int, void*, size_t)>("read");
  return Transfer("read", fd, size, [&](size_t part) { return real(fd, bytes, part); });
}
ssize_t pread(int fd, void* bytes, size_t size, off_t offset) {
  static auto* real = Real<ssize_t(int, void*, size_t, off_t)>("pread");
  return Transfer("pread", fd, size, [&](size_t part) { return real(fd, bytes, part, offset); });
}
ssize_t pread64(int fd, void* bytes, size_t size, off_t offset) {
  static auto* real = Real<ssize_t(int, void*, size_t, off_t)>("pread64");
  return Transfer("pread", fd, size, [&](size_t part) { return real(fd, bytes, part, offset); });
}

int fsync(int fd) {
  static auto* real = Real<int(int)>("fsync");
  return OnFile("fsync", real, fd);
}
int fdatasync(int fd) {
  static auto* real = Real<int(int)>("fdatasync");
  return OnFile("fdatasync", real, fd);
}
int ftruncate(int fd, off_t size) {
  static auto* real = Real<int(int, off_t)>("ftruncate");
  return OnFile("ftruncate", real, fd, size);
}
int ftruncate64(int fd, off_t size) {
  static auto* real = Real<int(int, off_t)>("ftruncate64");
  return OnFile("ftruncate", real, fd, size);
}
int fallocate(int fd, int mode, off_t offset, off_t length) {
  static auto* real = Real<int(int, int, off_t, off_t)>("fallocate");
  return OnFile("fallocate", real, fd, mode, offset, length);
}
int fallocate64(int fd, int mode, off_t offset, off_t length) {
  static auto* real = Real<int(int, int, off_t, off_t)>("fallocate64");
  return OnFile("fallocate", real, fd, mode, offset, length);
}
int unlink(const char* path) {
  static auto* real = Real<int(const char*)>("unlink");
  return OnPath("unlink", real, path);
}
int rename(const char* from, const char* to) {
  static auto* real = Real<int(const char*, const char*)>("rename");
  return OnPath("rename", real, from, to);
}
int mkdir(const char* path, mode_t mode) {
  static auto* real = Real<int(const char*, mode_t)>("mkdir");
  return OnPath("mkdir", real, path, mode);
}

}  // extern "C"
