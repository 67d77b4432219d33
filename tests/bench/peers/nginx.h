// nginx on loopback that takes files by PUT. The client is a bare socket that
// sends from the page cache: no HTTP library can be what is slow.
#pragma once

#include <string>
#include <vector>

#include "tests/bench/process.h"
#include "tests/bench/states.h"
#include "tests/testing/loopback.h"

namespace ckpt::bench {

class Nginx {
 public:
  explicit Nginx(const std::string& directory);

  // Seconds until the file is durable. nginx does not sync: file and directory
  // are synced here after its answer, and that is counted.
  double Put(const StateFile& state);
  // Seconds to receive what was put into memory that was touched before.
  double Get(uint64_t bytes);
  void Clear();

 private:
  // Sends the header, then `file` if there is one.
  int Ask(const std::string& header, const std::string& file = "");

  const std::string directory_;
  const test::ReservedPort port_;
  Process server_;
  std::vector<char> received_;
};

}  // namespace ckpt::bench
