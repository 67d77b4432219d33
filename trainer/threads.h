// How many cores the arithmetic takes.
#pragma once

namespace ckpt::trainer {

// Limits LibTorch and the BLAS under it to `count` threads. Call before the
// first tensor is made.
void SetThreads(int count);

}  // namespace ckpt::trainer
