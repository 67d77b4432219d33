#include "daemon/os/thread.h"

#include <pthread.h>

namespace ckptd::os {

void NameThread(const char* name) { pthread_setname_np(pthread_self(), name); }

}  // namespace ckptd::os
