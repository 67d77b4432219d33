#include "tests/testing/proxy.h"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <vector>

#include <absl/base/call_once.h>
#include <absl/time/clock.h>
#include <gtest/gtest.h>

#include "tests/testing/loopback.h"

namespace ckpt::test {
namespace {

constexpr int kPollMs = 20;

void SendAll(int to, const char* bytes, ssize_t size) {
  while (size > 0) {
    const ssize_t n = send(to, bytes, static_cast<size_t>(size), MSG_NOSIGNAL);
    if (n <= 0) return;
    bytes += n;
    size -= n;
  }
}

}  // namespace

struct Proxy::Line {
  int client = -1, daemon = -1;
  LineFault fault;
  std::atomic<uint64_t> passed = 0;
  absl::once_flag struck;                 // by its fault
  std::atomic<int64_t> silent_until = 0;  // nanoseconds since the epoch
  std::atomic<bool> over = false;
  std::thread thread;

  void Shut() {
    over = true;
    shutdown(client, SHUT_RDWR);
    if (daemon >= 0) shutdown(daemon, SHUT_RDWR);
  }
};

Proxy::Proxy(int target) : target_(target) {
  listener_ = TcpSocket();
  port_ = BindToFreePort(listener_);
  EXPECT_TRUE(port_ != 0 && listen(listener_, 128) == 0) << "the proxy cannot listen";
  acceptor_ = std::thread([this] { Accept(); });
}

Proxy::~Proxy() {
  stopping_ = true;
  acceptor_.join();
  CutAll();
  // Nobody adds a line any more.
  for (const std::shared_ptr<Line>& line : lines_) line->thread.join();
  close(listener_);
}

void Proxy::CutAll() {
  absl::MutexLock lock(&mutex_);
  for (const std::shared_ptr<Line>& line : lines_) line->Shut();
}

void Proxy::SetFaults(std::function<LineFault()> draw, std::function<void()> happened) {
  absl::MutexLock lock(&mutex_);
  draw_ = std::move(draw);
  happened_ = std::move(happened);
}

void Proxy::Accept() {
  while (!stopping_) {
    pollfd waiting = {.fd = listener_, .events = POLLIN};
    if (poll(&waiting, 1, kPollMs) != 1) continue;
    const int client = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
    if (client < 0) continue;
    auto line = std::make_shared<Line>();
    line->client = client;
    absl::MutexLock lock(&mutex_);
    if (draw_) line->fault = draw_();
    for (auto it = lines_.begin(); it != lines_.end();) {
      if ((*it)->client >= 0) {
        ++it;
        continue;
      }
      (*it)->thread.join();
      it = lines_.erase(it);
    }
    lines_.push_back(line);
    line->thread = std::thread([this, line] { Serve(*line); });
  }
}

// Both directions of one connection, until either end closes.
void Proxy::Serve(Line& line) {
  const int port = target_;
  const int daemon = port == 0 ? -1 : ConnectTo(port);
  if (daemon >= 0) {
    {
      absl::MutexLock lock(&mutex_);
      line.daemon = daemon;
    }
    std::thread back([&] { Pump(line, false); });
    Pump(line, true);
    back.join();
  }
  absl::MutexLock lock(&mutex_);
  if (daemon >= 0) close(daemon);
  close(line.client);
  line.client = line.daemon = -1;
}

bool Proxy::PassFault(Line& line, bool from_client) {
  if (line.fault.kind == LineFault::Kind::kNone) return true;
  if (line.passed < line.fault.after) return true;
  // The other direction waits here, too: nothing may break before it is told.
  absl::call_once(line.struck, [&] {
    std::function<void()> happened;
    {
      absl::MutexLock lock(&mutex_);
      happened = happened_;
    }
    if (happened) happened();
    ++faults_;
    line.silent_until = absl::ToUnixNanos(absl::Now() + line.fault.lasts);
  });
  if (line.fault.kind == LineFault::Kind::kCut) return false;
  const auto silent = [&] { return absl::ToUnixNanos(absl::Now()) < line.silent_until; };
  if (line.fault.kind == LineFault::Kind::kHalf) {
    if (from_client) return silent();
    while (silent() && !stopping_ && !line.over) absl::SleepFor(absl::Milliseconds(5));
    return false;
  }
  while (silent() && !stopping_ && !line.over) absl::SleepFor(absl::Milliseconds(5));
  return true;
}

void Proxy::Pump(Line& line, bool from_client) {
  const int from = from_client ? line.client : line.daemon;
  const int to = from_client ? line.daemon : line.client;
  std::vector<char> buffer(1 << 20);
  while (!stopping_ && !line.over) {
    pollfd waiting = {.fd = from, .events = POLLIN};
    if (poll(&waiting, 1, kPollMs) != 1) continue;
    // As far as the fault, so that it strikes in the middle of whatever comes.
    size_t most = buffer.size();
    if (line.fault.kind != LineFault::Kind::kNone && line.passed < line.fault.after) {
      most = std::min<uint64_t>(most, line.fault.after - line.passed);
    }
    const ssize_t got = recv(from, buffer.data(), most, 0);
    if (got <= 0) break;
    line.passed += static_cast<uint64_t>(got);
    (from_client ? sent_ : received_) += static_cast<uint64_t>(got);
    SendAll(to, buffer.data(), got);
    if (!PassFault(line, from_client)) break;
  }
  line.Shut();  // wakes the other direction
}

}  // namespace ckpt::test
