// A configuration file.
#include <sys/mman.h>
#include <unistd.h>

#include "daemon/config.h"
#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const int fd = memfd_create("config", MFD_CLOEXEC);
  MUST(fd >= 0 && write(fd, data, size) == static_cast<ssize_t>(size));
  const std::string path = "/proc/self/fd/" + std::to_string(fd);
  const char* arguments[] = {"ckptd", "--data-dir", "/nowhere", "--config", path.c_str()};
  const ckptd::Config config = ckptd::LoadConfig(5, arguments);
  if (config.stop) {
    // A mistake in the settings is said, and is a mistake.
    MUST(config.exit_code != 0 && !config.text.empty());
  } else {
    MUST(config.data_dir == "/nowhere" && !config.listen.empty());
  }
  close(fd);
  return 0;
}
