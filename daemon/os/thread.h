// What a thread asks of the kernel for itself.
#pragma once

namespace ckptd::os {

// The calling thread runs when no other wants to. Never fails: where it cannot
// be had, the thread runs as before.
void LowerThreadPriority();

}  // namespace ckptd::os
