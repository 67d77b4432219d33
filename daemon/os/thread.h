// What a thread asks of the kernel for itself.
#pragma once

namespace ckptd::os {

// The calling thread's name in `top -H` and in a debugger; at most 15 letters.
void NameThread(const char* name);

}  // namespace ckptd::os
