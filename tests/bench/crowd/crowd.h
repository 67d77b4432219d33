// Peers that have the daemon hold something for them and hardly use it:
// connections on which nothing happens, pushes and fetches that take their time.
// Errors end the process with a sentence.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <absl/synchronization/notification.h>

#include "client/client.h"
#include "tests/testing/slow_peers.h"

namespace ckpt::bench {

struct CrowdSize {
  int idle = 0, pushes = 0, fetches = 0;
  bool operator==(const CrowdSize&) const = default;
};

// One thread.
class Crowd {
 public:
  // All are there and have begun when it returns. From then on each push sends
  // 4 KiB a second, over a connection of its own, as has each fetch of
  // `checkpoint`, of which one takes a chunk a second, in turns.
  Crowd(const std::string& address, uint64_t checkpoint, const CrowdSize& size);
  ~Crowd();
  Crowd(const Crowd&) = delete;
  Crowd& operator=(const Crowd&) = delete;

  // Ends it: how many the daemon served to the last, which it shows by answering
  // a ping, by having counted all chunks of a push, by giving the whole of a fetch.
  CrowdSize End();

 private:
  struct Push;
  void BeginPush(int number);
  void Trickle();

  const std::string address_;
  const std::unique_ptr<Client> client_;
  std::vector<std::unique_ptr<test::IdleConnection>> idle_;
  std::vector<std::unique_ptr<Push>> pushes_;
  std::vector<std::unique_ptr<test::SlowFetch>> fetches_;
  absl::Notification enough_;
  std::thread trickle_;
};

}  // namespace ckpt::bench
