#include "daemon/os/thread.h"

#include <pthread.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include <spdlog/spdlog.h>

namespace ckptd::os {

void LowerThreadPriority() {
  // On Linux the priority is the thread's, whatever POSIX says.
  const auto thread = static_cast<id_t>(syscall(SYS_gettid));
  if (setpriority(PRIO_PROCESS, thread, 19) != 0) {
    spdlog::warn("a background thread keeps its priority: {}", std::strerror(errno));
  }
}

void NameThread(const char* name) { pthread_setname_np(pthread_self(), name); }

}  // namespace ckptd::os
