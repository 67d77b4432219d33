// A TCP proxy on loopback: counts what goes through it, so that a test can say
// what really went over the line, and does to it what networks do.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <string>
#include <thread>

#include <absl/synchronization/mutex.h>
#include <absl/time/time.h>

namespace ckpt::test {

// What becomes of a connection once `after` bytes went through it in either
// direction, both counted.
struct LineFault {
  enum class Kind {
    kNone,
    kCut,    // both ends see it closed
    kStall,  // nothing passes for `lasts`, then all goes on
    kHalf,   // what the target sends is swallowed for `lasts`, then cut: half-open
  };
  Kind kind = Kind::kNone;
  uint64_t after = 0;
  absl::Duration lasts;
};

// Forwards connections on a port of its own to a port of 127.0.0.1. Thread-safe.
class Proxy {
 public:
  // Port 0: none yet, connections are closed at once.
  explicit Proxy(int target = 0);
  Proxy(const Proxy&) = delete;
  Proxy& operator=(const Proxy&) = delete;
  ~Proxy();

  std::string address() const { return "127.0.0.1:" + std::to_string(port_); }
  uint64_t sent() const { return sent_; }          // by clients
  uint64_t received() const { return received_; }  // by clients
  uint64_t faults() const { return faults_; }      // that came to pass

  // Of new connections from now on; 0: refused.
  void SetTarget(int port) { target_ = port; }
  // Closes every connection.
  void CutAll();
  // Asked for each new connection. `happened` is called before anybody can see
  // that the fault came to pass.
  void SetFaults(std::function<LineFault()> draw, std::function<void()> happened);

 private:
  struct Line;
  void Accept();
  void Serve(Line& line);
  void Pump(Line& line, bool from_client);
  // False: the connection is over.
  bool PassFault(Line& line, bool from_client);

  std::atomic<int> target_;
  int port_ = 0;
  int listener_ = -1;
  std::atomic<bool> stopping_ = false;
  std::atomic<uint64_t> sent_ = 0, received_ = 0, faults_ = 0;
  absl::Mutex mutex_;
  std::function<LineFault()> draw_ ABSL_GUARDED_BY(mutex_);
  std::function<void()> happened_ ABSL_GUARDED_BY(mutex_);
  std::list<std::shared_ptr<Line>> lines_ ABSL_GUARDED_BY(mutex_);
  std::thread acceptor_;
};

}  // namespace ckpt::test
