// A daemon that a test may ruin, and where what it left can be looked at.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>

#include <gtest/gtest.h>

#include "proto/status.h"

namespace ckpt::crash {

// Threads: only the one that made it, except where noted.
class House {
 public:
  virtual ~House() = default;

  // Starts the daemon, which is not running, on what is there.
  virtual testing::AssertionResult Start() = 0;
  virtual bool is_up() const = 0;
  // Of the daemon; the same over restarts. Any thread.
  virtual std::string address() const = 0;
  // The end of what the daemon logged.
  virtual std::string Log() const = 0;

  // How often calls may have been left without an answer. Any thread.
  uint64_t kills() const { return kills_.load(); }

  // Whether, beside no answer at all, this is one that a call may get now: one
  // that says of nothing whether it happened. Any thread.
  virtual bool MayFail(const absl::Status&) const { return false; }

  // Blocks that the packs take, and how many there are.
  struct Packs {
    uint64_t bytes = 0, files = 0;
  };
  virtual Packs MeasurePacks() const = 0;

  // Of a dead daemon's catalog, as it lies there: that SQLite finds it whole
  // and that it agrees with itself.
  virtual absl::Status CheckCatalog() = 0;

 protected:
  // To be called before anybody can see the broken line.
  void CountKill() { ++kills_; }

 private:
  std::atomic<uint64_t> kills_ = 0;
};

}  // namespace ckpt::crash
