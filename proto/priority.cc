#include "proto/priority.h"

#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

namespace ckpt {

int GiveWay(int nice) {
  if (nice == 0) return 0;
  // On Linux the priority is the thread's, whatever POSIX says.
  const auto thread = static_cast<id_t>(syscall(SYS_gettid));
  errno = 0;
  const int now = getpriority(PRIO_PROCESS, thread);
  if (errno != 0) return errno;
  if (now >= nice) return 0;
  return setpriority(PRIO_PROCESS, thread, nice) == 0 ? 0 : errno;
}

}  // namespace ckpt
