#include "tests/testing/programs.h"

namespace ckpt::test {

const char* const kCkptd = CKPTD_BINARY;
const char* const kCkptctl = CKPTCTL_BINARY;

}  // namespace ckpt::test
