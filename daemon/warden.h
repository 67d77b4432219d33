// What the main thread does while the others serve: it waits for signals, looks
// every moment how the daemon is, and tells whoever wants to know: the log, gRPC's
// health service, systemd. And it leads the end.
#pragma once

#include <signal.h>

#include <functional>
#include <string>

#include <absl/time/time.h>

#include "daemon/config.h"
#include "daemon/metrics/counter.h"
#include "daemon/os/pulse.h"
#include "daemon/server.h"
#include "daemon/store/store.h"

namespace ckptd {

// Of the main thread, but for pulse().
class Warden {
 public:
  // Says at once whether the daemon is ready. `store` and `server` must outlive it.
  Warden(const Config& config, Store* store, Server* server);

  // Broken while the main thread is stuck.
  const os::Pulse& pulse() const { return pulse_; }

  // Until SIGTERM or SIGINT, which `signals` (blocked) has to have; calls `reload`
  // for SIGHUP. systemd's watchdog hears of it as long as no thread is stuck and
  // the store answers.
  void Watch(const sigset_t& signals, const std::function<void()>& reload);

  // Takes nothing new, waits for what is under way for up to the drain timeout,
  // and stops the server. A second signal ends the waiting.
  void Drain(const sigset_t& signals);

 private:
  // Waits for a signal; 0: none came in time.
  int NextSignal(const sigset_t& signals, absl::Duration timeout);
  // One look.
  void Look();
  // To systemd: `status`, and that the daemon is alive, where it is.
  void Report(const std::string& status, bool live);
  // What the drain waits for, in words; empty: nothing.
  std::string UnderWay();

  const absl::Duration drain_timeout_, stuck_after_;
  Store* const store_;
  Server* const server_;
  absl::Duration tick_;
  bool watched_ = false;  // by systemd
  std::string problems_;  // as last said in the log; empty: ready
  os::Pulse pulse_;
};

}  // namespace ckptd
