#include "trainer/threads.h"

#include <dlfcn.h>

#include <torch/utils.h>

namespace ckpt::trainer {

void SetThreads(int count) {
  torch::set_num_threads(count);
  // Debian's LibTorch calls whatever BLAS the machine has chosen. OpenBLAS has
  // threads of its own that LibTorch does not know of, and sums in another
  // order with each number of them: a run that moved to a machine with more
  // cores would not repeat bit for bit. Other BLAS do not have the function.
  using SetBlasThreads = void (*)(int);
  if (void* found = ::dlsym(RTLD_DEFAULT, "openblas_set_num_threads"); found != nullptr) {
    reinterpret_cast<SetBlasThreads>(found)(count);
  }
}

}  // namespace ckpt::trainer
