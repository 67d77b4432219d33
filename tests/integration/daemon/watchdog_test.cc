// What systemd hears of a daemon: that it is up, how it is, that it lives; and
// nothing more once a thread of it is stuck.
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

#include <cstring>
#include <filesystem>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/integration/daemon/held_push.h"
#include "tests/integration/daemon/operated.h"

namespace ckpt::test {
namespace {

using ::testing::HasSubstr;

// The socket that systemd gives a service.
class NotifySocket {
 public:
  explicit NotifySocket(const std::string& path)
      : fd_(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0)) {
    sockaddr_un address = {};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, path.c_str(), sizeof(address.sun_path) - 1);
    EXPECT_EQ(bind(fd_, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0) << path;
    const timeval limit = {.tv_sec = 60, .tv_usec = 0};
    setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    setenv("NOTIFY_SOCKET", path.c_str(), 1);  // for what is started from now on
  }
  NotifySocket(const NotifySocket&) = delete;
  NotifySocket& operator=(const NotifySocket&) = delete;
  ~NotifySocket() {
    unsetenv("NOTIFY_SOCKET");
    close(fd_);
  }

  // The next message; empty after a minute without one.
  std::string Next() { return Receive(0); }
  // What has come already; empty: nothing.
  std::string Poll() { return Receive(MSG_DONTWAIT); }
  void Flush() {
    while (!Poll().empty()) {
    }
  }
  // The next message that has `text`; with a failure when none comes.
  std::string NextWith(const std::string& text) {
    for (;;) {
      std::string message = Next();
      EXPECT_NE(message, "") << "no message with " << text;
      if (message.empty() || message.find(text) != std::string::npos) return message;
    }
  }

 private:
  std::string Receive(int flags) {
    char buffer[4096];
    const ssize_t n = recv(fd_, buffer, sizeof(buffer), flags);
    return n > 0 ? std::string(buffer, static_cast<size_t>(n)) : "";
  }

  const int fd_;
};

// A thread of another process that a debugger holds; the process' others go on.
class HeldThread {
 public:
  explicit HeldThread(pid_t thread)
      : thread_(thread),
        held_(ptrace(PTRACE_SEIZE, thread_, 0, 0) == 0 &&
              ptrace(PTRACE_INTERRUPT, thread_, 0, 0) == 0 &&
              waitpid(thread_, nullptr, __WALL) == thread_) {}
  HeldThread(const HeldThread&) = delete;
  HeldThread& operator=(const HeldThread&) = delete;
  ~HeldThread() {
    if (held_) ptrace(PTRACE_DETACH, thread_, 0, 0);
  }

  bool held() const { return held_; }

  // The thread of this name; 0: there is none.
  static pid_t Find(pid_t process, const std::string& name) {
    for (const auto& task :
         std::filesystem::directory_iterator(fmt::format("/proc/{}/task", process))) {
      if (ReadFile(task.path() / "comm") == name + "\n") return std::stoi(task.path().filename());
    }
    return 0;
  }

 private:
  const pid_t thread_;
  const bool held_;
};

class WatchdogTest : public testing::Test {
 protected:
  void SetUp() override { setenv("WATCHDOG_USEC", "600000", 1); }
  void TearDown() override { unsetenv("WATCHDOG_USEC"); }

  ckptd::os::TempDir dir_;
  NotifySocket socket_{dir_ / "notify"};
  OperatedDaemon daemon_{dir_ / "data", {"--stuck-after", "1s", "--prune-interval", "50ms"}};
};

TEST_F(WatchdogTest, HearsThatItIsUpThatItLivesAndHowItIs) {
  ASSERT_TRUE(daemon_.Start());
  EXPECT_THAT(socket_.NextWith("STATUS="), HasSubstr("STATUS=ready; 0 uploads open, 0 calls"));
  socket_.NextWith("READY=1");
  for (int i = 0; i < 5; ++i) {
    EXPECT_THAT(socket_.NextWith("\nWATCHDOG=1"), HasSubstr("STATUS=ready; "));
  }

  auto client = Connect(daemon_.address(), absl::Seconds(60));
  const RunName run{"default", "watched"};
  HeldPush push(*client, run, OpenAttempt(*client, run));
  push.WaitUntilHalf();
  socket_.NextWith("STATUS=ready; 1 uploads open, 0 calls and 1 chunk streams under way");
  daemon_.process().Signal(SIGTERM);
  EXPECT_THAT(socket_.NextWith("STOPPING=1"), HasSubstr("EXTEND_TIMEOUT_USEC=31000000"));
  // It is alive while it drains, and says what for.
  for (int i = 0; i < 3; ++i) {
    EXPECT_THAT(socket_.NextWith("\nWATCHDOG=1"),
                HasSubstr("STATUS=draining: waiting for 1 uploads (watched@1 rank 0"));
  }
  push.GoOn();
  EXPECT_TRUE(push.Result().ok());
  EXPECT_EQ(daemon_.process().Wait(), (Ended{.code = 0})) << daemon_.process().Output();
}

TEST_F(WatchdogTest, HearsNothingMoreOnceAThreadIsStuck) {
  ASSERT_TRUE(daemon_.Start());
  socket_.NextWith("WATCHDOG=1");
  {
    const pid_t thread = HeldThread::Find(daemon_.process().pid(), "janitor");
    ASSERT_NE(thread, 0);
    HeldThread janitor(thread);
    if (!janitor.held()) GTEST_SKIP() << "holding a thread is not permitted here";
    socket_.NextWith("STATUS=not ready: the janitor has not been heard of");
    socket_.Flush();
    // The main thread goes on and has something to say, but not that all is well.
    for (int i = 0; i < 5; ++i) {
      const std::string message = socket_.Next();
      EXPECT_THAT(message, HasSubstr("STATUS=not ready: the janitor"));
      EXPECT_EQ(message.find("WATCHDOG=1"), std::string::npos) << message;
    }
    const HttpReply health = daemon_.Ask("/healthz");
    EXPECT_EQ(health.status, 503);
    EXPECT_THAT(health.body, HasSubstr("the janitor has not been heard of"));
    EXPECT_EQ(daemon_.Metric("ckptd_live"), 0);
    EXPECT_EQ(HealthOf(daemon_.address(), ""), kNotServing);
  }
  socket_.NextWith("WATCHDOG=1");
  EXPECT_EQ(daemon_.Ask("/healthz").status, 200);
  EXPECT_EQ(HealthOf(daemon_.address(), ""), kServing);
}

TEST_F(WatchdogTest, HearsNothingFromAStuckMainThread) {
  ASSERT_TRUE(daemon_.Start());
  socket_.NextWith("READY=1");  // before, the main thread has yet to start others
  socket_.NextWith("WATCHDOG=1");
  HeldThread main(daemon_.process().pid());  // whose number is the process'
  if (!main.held()) GTEST_SKIP() << "holding a thread is not permitted here";
  // The others answer, and say it.
  EXPECT_TRUE(WaitUntil([&] { return daemon_.Ask("/healthz").status == 503; }));
  EXPECT_THAT(daemon_.Ask("/healthz").body, HasSubstr("main loop"));
  socket_.Flush();
  EXPECT_EQ(daemon_.Ask("/readyz").status, 200);
  EXPECT_TRUE(Connect(daemon_.address())->GetStats().ok());
  EXPECT_EQ(socket_.Poll(), "");
}

}  // namespace
}  // namespace ckpt::test
