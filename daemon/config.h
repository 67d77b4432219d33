// ckptd's settings: flags over environment (CKPTD_*) over a TOML or INI file
// over defaults that need no configuration at all.
#pragma once

#include <string>
#include <vector>

#include <absl/time/time.h>

#include "proto/model.h"
#include "proto/status.h"

namespace ckptd {

struct Config {
  std::string config_file;
  std::string data_dir;
  std::vector<std::string> listen;  // host:port or unix:PATH
  std::string metrics_listen;       // host:port of metrics and health over HTTP; empty: none
  std::string log_level = "info";
  uint64_t keep_free_bytes = 64ull << 20;
  uint64_t budget = 0;  // bytes, of each project without its own; 0: none
  // Of each project without its own; 0: none.
  uint64_t quota_bytes = 0, quota_checkpoints = 0, quota_uploads = 0;
  std::string io = "auto";  // or "plain"
  int nice = 10;            // of the process (proto/priority.h); 0: as it was started
  absl::Duration drain_timeout = absl::Seconds(30);
  absl::Duration stuck_after = absl::Minutes(5);
  absl::Duration ticket_ttl = absl::Minutes(10);
  absl::Duration prune_interval = absl::Seconds(30);
  bool compress = true;  // history, in the background
  int compress_level = 1;
  uint64_t compress_rate = 64ull << 20;  // bytes a second; 0: any
  bool scrub = true;  // passes begin by themselves
  uint64_t scrub_rate = 16ull << 20;  // bytes a second; 0: any
  absl::Duration scrub_interval = absl::Hours(7 * 24);
  bool allow_remote = false;  // listen beyond loopback also without tokens or TLS
  std::string auth = "off";   // or "tokens"
  // Paths of PEM files; empty: none. All TCP addresses speak TLS, or none does.
  std::string tls_cert, tls_key, tls_client_ca;
  std::string audit_log;                           // a path; empty: there is none
  absl::Duration idle_timeout = absl::Minutes(2);  // of chunk streams on which nothing moves
  uint64_t memory_limit = 1ull << 30;              // for what gRPC receives
  std::string create_admin_token;  // do that, write it there, and end; "-": standard output
  ckpt::Policy default_policy;
  // Instead of serving: rebuild the catalog, from this backup if there is one.
  bool rebuild_catalog = false;
  std::string rebuild_from;

  // Set instead of everything else: print `text` and end with `exit_code`
  // (--help, --version, or a mistake in the settings).
  bool stop = false;
  int exit_code = 0;
  std::string text;
};

// Reads arguments, environment and file. A mistake is one sentence in `text`.
Config LoadConfig(int argc, const char* const* argv);

// The file again, for SIGHUP: only log level, default policy and default budget
// are taken.
absl::StatusOr<Config> ReloadConfig(int argc, const char* const* argv);

}  // namespace ckptd
