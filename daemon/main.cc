// ckptd: reads the settings, opens the store, serves, drains.
#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <sys/stat.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include <fmt/format.h>
#include <grpc/support/log.h>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>

#include "daemon/access/audit.h"
#include "daemon/access/tokens.h"
#include "daemon/config.h"
#include "daemon/metrics/metrics.h"
#include "daemon/monitor/monitor.h"
#include "daemon/os/clock.h"
#include "daemon/os/file_system.h"
#include "daemon/rpc/guard.h"
#include "daemon/rpc/service.h"
#include "daemon/server.h"
#include "daemon/store/recovery.h"
#include "daemon/store/store.h"
#include "daemon/warden.h"
#include "proto/names.h"
#include "proto/priority.h"
#include "proto/status.h"

namespace {

// The signals that main waits for. Blocked before any thread starts, so that
// no thread of gRPC's takes one.
sigset_t HandledSignals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGHUP);
  return signals;
}

// gRPC receives into memory from malloc, 4 MiB a chunk. glibc gives the end of
// a heap back to the kernel as soon as 128 KiB of it are free, and then every
// chunk is faulted in again page by page: half of a stream's processor time
// (proto/channel.cc has the figures). So as much stays as a few streams need;
// it goes back when the last of them ends (daemon/rpc/byte_streams.cc). Few
// arenas, since each may keep as much.
void KeepFreedMemory() {
  mallopt(M_MMAP_THRESHOLD, 32 << 20);
  mallopt(M_TRIM_THRESHOLD, 64 << 20);
  mallopt(M_ARENA_MAX, 4);
}

// What gRPC has to say, errors too, is about its own insides: what matters of
// it reaches us as a status, which is logged in our words.
void LogOfGrpc(gpr_log_func_args* line) {
  spdlog::debug("grpc: {}:{}: {}", line->file, line->line, line->message);
}

int Fail(const absl::Status& status) {
  spdlog::error("{}", std::string(status.message()));
  return 1;
}

// Makes the token that makes all others, and puts it where only its owner reads it.
absl::Status CreateAdminToken(ckptd::Tokens& tokens, const std::string& path) {
  int file = STDOUT_FILENO;
  if (path != "-") {
    // Before the token is made: one that nobody can read would be of no use.
    file = open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (file < 0) {
      return ckpt::BadField("create-admin-token",
                            fmt::format("cannot create {}: {}; name a file that is not there yet",
                                        ckpt::Printable(path, 400), std::strerror(errno)));
    }
  }
  const auto made = tokens.Create({.name = "admin", .role = ckpt::Role::kAdmin}, "");
  if (!made.ok()) {
    if (path != "-") unlink(path.c_str());
    return made.status();
  }
  const std::string line = made->text + "\n";
  const bool written = write(file, line.data(), line.size()) == static_cast<ssize_t>(line.size()) &&
                       (path == "-" || (fsync(file) == 0 && close(file) == 0));
  if (!written) {
    return ckpt::MakeError(absl::StatusCode::kUnavailable, ckpt::reason::kIoError,
                           fmt::format("cannot write the token to {}: {}",
                                       ckpt::Printable(path, 400), std::strerror(errno)));
  }
  spdlog::info("token {} may everything; it was written to {}", made->token.id,
               path == "-" ? "standard output" : path);
  return absl::OkStatus();
}

ckptd::QuotaDefaults QuotaOf(const ckptd::Config& config) {
  return {config.quota_bytes, config.quota_checkpoints, config.quota_uploads};
}

void Reload(int argc, char** argv, ckptd::Store& store) {
  auto config = ckptd::ReloadConfig(argc, argv);
  if (!config.ok()) {
    spdlog::error("the configuration was not reloaded: {}",
                  std::string(config.status().message()));
    return;
  }
  spdlog::set_level(spdlog::level::from_str(config->log_level));
  store.SetDefaultPolicy(config->default_policy);
  store.SetDefaultBudget(config->budget);
  store.SetDefaultQuota(QuotaOf(*config));
  spdlog::info("configuration reloaded: log level {}, default policy {}, default budget {}",
               config->log_level, ckpt::ToString(config->default_policy),
               config->budget == 0 ? "none" : fmt::format("{} bytes", config->budget));
}

}  // namespace

int main(int argc, char** argv) {
  ckptd::Config config = ckptd::LoadConfig(argc, argv);
  if (config.stop) {
    std::fputs(config.text.c_str(), config.exit_code == 0 ? stdout : stderr);
    return config.exit_code;
  }
  KeepFreedMemory();
  umask(027);  // what SQLite creates, too, is nobody else's to read
  // Logs go to stderr, one line an event; journald or a container keeps them.
  spdlog::set_default_logger(spdlog::stderr_color_mt("ckptd"));
  spdlog::set_pattern("%Y-%m-%dT%H:%M:%S.%eZ %^%-5l%$ %v", spdlog::pattern_time_type::utc);
  spdlog::set_level(spdlog::level::from_str(config.log_level));

  // Before there are threads: they inherit it.
  if (const int error = ckpt::GiveWay(config.nice); error != 0) {
    spdlog::warn("nice = {} was refused: {}; ckptd does not give way to training here", config.nice,
                 std::strerror(error));
  }
  gpr_set_log_function(LogOfGrpc);

  sigset_t signals = HandledSignals();
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  signal(SIGPIPE, SIG_IGN);

  ckptd::Metrics metrics(ckptd::CheckpointsService::MethodNames());
  std::unique_ptr<ckptd::os::FileSystem> fs = ckptd::os::NewRealFileSystem(
      config.io == "plain" ? ckptd::os::WriteMode::kPlain : ckptd::os::WriteMode::kAuto,
      &metrics.disk);
  ckptd::os::RealClock clock;
  if (config.rebuild_catalog) {
    // May read the whole disk; ended at any moment, it can be done again.
    pthread_sigmask(SIG_UNBLOCK, &signals, nullptr);
    const absl::Status rebuilt =
        ckptd::RebuildCatalog(config.data_dir, config.rebuild_from, fs.get(), &clock);
    return rebuilt.ok() ? 0 : Fail(rebuilt);
  }
  std::atomic<bool> damaged = false;
  ckptd::StoreOptions options;
  options.data_dir = config.data_dir;
  options.version = CKPTD_VERSION;
  options.default_policy = config.default_policy;
  options.default_budget = config.budget;
  options.default_quota = QuotaOf(config);
  options.keep_free_bytes = config.keep_free_bytes;
  options.ticket_ttl = config.ticket_ttl;
  options.prune_interval = config.prune_interval;
  options.compress = config.compress;
  options.compress_level = config.compress_level;
  options.compress_rate = config.compress_rate;
  options.scrub = config.scrub;
  options.scrub_rate = config.scrub_rate;
  options.scrub_interval = config.scrub_interval;
  options.stuck_after = config.stuck_after;
  options.metrics = &metrics;
  options.on_catalog_damage = [&damaged] {
    damaged = true;
    kill(getpid(), SIGTERM);
  };
  auto store = ckptd::Store::Open(options, fs.get(), &clock);
  if (!store.ok()) return Fail(store.status());

  auto tokens = std::make_unique<ckptd::Tokens>((*store)->catalog(), &clock);
  if (!config.create_admin_token.empty()) {
    const absl::Status created = CreateAdminToken(*tokens, config.create_admin_token);
    return created.ok() ? 0 : Fail(created);
  }
  if (config.auth == "tokens") {
    const absl::StatusOr<bool> has_admin = tokens->HasAdmin();
    if (!has_admin.ok()) return Fail(has_admin.status());
    if (!*has_admin) {
      spdlog::warn(
          "every call needs a token and nobody can make one: stop ckptd and run it with "
          "--create-admin-token FILE once");
    }
  }

  auto audit = ckptd::Audit::Open(config.audit_log, &clock);
  if (!audit.ok()) return Fail(audit.status());
  const ckptd::Guard guard(store->get(), tokens.get(), audit->get(), config.auth == "tokens");

  auto server = ckptd::Server::Start(config, guard);
  if (!server.ok()) return Fail(server.status());
  ckptd::Warden warden(config, store->get(), server->get());
  std::unique_ptr<ckptd::Monitor> monitor;
  if (!config.metrics_listen.empty()) {
    auto started = ckptd::Monitor::Start({.listen = config.metrics_listen,
                                          .allow_remote = config.allow_remote,
                                          .version = CKPTD_VERSION,
                                          .keep_free_bytes = config.keep_free_bytes},
                                         store->get(), &warden.pulse());
    if (!started.ok()) return Fail(started.status());
    monitor = *std::move(started);
    spdlog::info("metrics and health on http://{}", monitor->address());
  }
  for (const std::string& address : (*server)->addresses()) {
    spdlog::info("ckptd {} serves {} on {}", CKPTD_VERSION, config.data_dir, address);
  }
  spdlog::info("tokens: {}; TLS: {}{}",
               config.auth == "tokens" ? "asked for" : "off, whoever comes may everything",
               config.tls_cert.empty() ? "off" : "on",
               config.tls_client_ca.empty() ? "" : ", with client certificates");
  spdlog::info("default policy: {}", ckpt::ToString(config.default_policy));
  sd_notify(0, "READY=1");

  warden.Watch(signals, [&] { Reload(argc, argv, **store); });
  warden.Drain(signals);
  server->reset();
  monitor.reset();
  tokens.reset();
  store->reset();
  spdlog::info("stopped");
  // Not to be taken for an end that was asked for: started again, it repairs the
  // catalog.
  return damaged ? 1 : 0;
}
