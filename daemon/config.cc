#include "daemon/config.h"

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <sstream>

#include <CLI/CLI.hpp>
#include <absl/strings/ascii.h>
#include <absl/strings/numbers.h>
#include <fmt/format.h>

#include "daemon/flag_values.h"
#include "daemon/policy_flags.h"
#include "proto/limits.h"
#include "proto/names.h"

namespace ckptd {
namespace {

constexpr uint64_t kLeastMemory = 64ull << 20;

// Durations and limits come as text and are parsed after CLI11 is done.
struct Texts {
  std::string drain_timeout = "30s";
  std::string metrics_listen = "none";
  std::string stuck_after = "5m";
  std::string ticket_ttl = "10m";
  std::string prune_interval = "30s";
  std::string compress = "on";
  std::string scrub = "on";
  std::string scrub_interval = "168h";
  std::string budget = "none";
  std::string quota_bytes = "none", quota_checkpoints = "none", quota_uploads = "none";
  std::string audit_log = "default";
  std::string idle_timeout = "2m";
  PolicyFlags policy;
};

std::string DefaultDataDir() {
  if (const char* state = std::getenv("STATE_DIRECTORY")) return state;  // from systemd
  if (const char* home = std::getenv("HOME")) return std::string(home) + "/.local/share/ckptd";
  return "/var/lib/ckptd";
}

// "CKPTD_KEEP_LAST"; empty for what the environment does not set.
std::string VariableOf(const CLI::Option& option) {
  const std::vector<std::string>& names = option.get_lnames();
  const bool is_config = !names.empty() && names[0] == "config";
  if (names.empty() || names[0] == "help" || names[0] == "version") return "";
  if (!option.get_configurable() && !is_config) return "";
  std::string variable = "CKPTD_" + absl::AsciiStrToUpper(names[0]);
  std::replace(variable.begin(), variable.end(), '-', '_');
  return variable;
}

// A TOML or INI file. CLI11 would put it over the environment, and has no
// words for a key that is no setting, which is most likely a typo.
class File : public CLI::ConfigBase {
 public:
  explicit File(const CLI::App* app) : app_(app) {}

  std::vector<CLI::ConfigItem> from_config(std::istream& in) const override {
    std::vector<CLI::ConfigItem> items = ConfigBase::from_config(in);
    std::erase_if(items, [&](const CLI::ConfigItem& item) {
      const CLI::Option* option = item.parents.empty()
                                      ? app_->get_option_no_throw("--" + item.name)
                                      : nullptr;
      if (option == nullptr || !option->get_configurable()) Refuse(item);
      const char* value = std::getenv(option->get_envname().c_str());
      return value != nullptr && *value != '\0';
    });
    return items;
  }

 private:
  [[noreturn]] void Refuse(const CLI::ConfigItem& item) const {
    const bool is_section = item.name == "++" || item.name == "--";
    const std::string what = is_section ? fmt::format("section [{}]", item.parents.back())
                                        : ckpt::Printable(item.fullname());
    throw CLI::ConfigError(fmt::format("{}: {} is no setting of ckptd; `ckptd --help` lists them",
                                       app_->get_config_ptr()->as<std::string>(), what));
  }

  const CLI::App* const app_;
};

// CLI11's own words, or better ones.
std::string SentenceOf(const CLI::App& app, const CLI::ParseError& error) {
  if (dynamic_cast<const CLI::ExtrasError*>(&error) != nullptr) {
    return fmt::format("there is no flag {}; `ckptd --help` lists those there are",
                       ckpt::Printable(app.remaining().front()));
  }
  if (dynamic_cast<const CLI::FileError*>(&error) != nullptr) {
    return fmt::format("the configuration file {} cannot be read",
                       app.get_config_ptr()->as<std::string>());
  }
  return error.what();
}

absl::Status Finish(const Texts& texts, Config& config) {
  if (config.listen.empty()) config.listen = {ckpt::kDefaultAddress};
  ASSIGN_OR_RETURN(config.drain_timeout, ParseTime("drain-timeout", texts.drain_timeout));
  if (texts.metrics_listen != "none") config.metrics_listen = texts.metrics_listen;
  ASSIGN_OR_RETURN(config.stuck_after, ParseTime("stuck-after", texts.stuck_after));
  if (config.stuck_after < absl::Seconds(1)) {
    return ckpt::BadField("stuck-after", "stuck-after: must be a second or longer");
  }
  ASSIGN_OR_RETURN(config.ticket_ttl, ParseTime("ticket-ttl", texts.ticket_ttl));
  ASSIGN_OR_RETURN(config.prune_interval, ParseTime("prune-interval", texts.prune_interval));
  if (config.prune_interval == absl::ZeroDuration()) {
    return ckpt::BadField("prune-interval", "prune-interval: must be longer than zero");
  }
  config.compress = texts.compress == "on";
  config.scrub = texts.scrub == "on";
  ASSIGN_OR_RETURN(config.scrub_interval, ParseTime("scrub-interval", texts.scrub_interval));
  ASSIGN_OR_RETURN(config.budget, ParseLimit("budget", texts.budget));
  ASSIGN_OR_RETURN(config.quota_bytes, ParseLimit("quota-bytes", texts.quota_bytes));
  const auto count = [](const std::string& text) {
    uint64_t value = 0;  // none
    return absl::SimpleAtoi(text, &value) ? value : 0;
  };
  config.quota_checkpoints = count(texts.quota_checkpoints);
  config.quota_uploads = count(texts.quota_uploads);
  ASSIGN_OR_RETURN(config.idle_timeout, ParseTime("idle-timeout", texts.idle_timeout));
  if (config.idle_timeout == absl::ZeroDuration()) {
    return ckpt::BadField("idle-timeout", "idle-timeout: must be longer than zero");
  }
  if (config.memory_limit < kLeastMemory) {
    return ckpt::BadField("memory-limit",
                          "memory-limit: less than 64MiB would not do for one push");
  }
  config.audit_log = texts.audit_log == "default" ? config.data_dir + "/audit.log"
                     : texts.audit_log == "none"  ? ""
                                                  : texts.audit_log;
  ASSIGN_OR_RETURN(config.default_policy, texts.policy.Parse());
  return absl::OkStatus();
}

}  // namespace

Config LoadConfig(int argc, const char* const* argv) {
  Config config;
  Texts texts;
  CLI::App app("ckptd keeps the checkpoints of training runs: it takes them over gRPC, makes them "
               "durable, keeps the best and the last, and hands them to restarted workers.",
               "ckptd");
  app.set_version_flag("--version", "ckptd " CKPTD_VERSION);
  // CLI11 looks at the environment only after it has read the file.
  const char* file = std::getenv("CKPTD_CONFIG");
  const bool has_file = file != nullptr && *file != '\0';
  app.set_config("--config", has_file ? file : "", "A TOML or INI file with these options as keys",
                 /*config_required=*/has_file);
  app.config_formatter(std::make_shared<File>(&app));
  config.data_dir = DefaultDataDir();
  app.add_option("--data-dir", config.data_dir, "Where packs and catalog are kept")
      ->capture_default_str();
  app.add_option("--listen", config.listen,
                 "Address to serve on, host:port or unix:PATH; may be given several times "
                 "(default 127.0.0.1:7420)")
      ->delimiter(',');
  app.add_flag("--allow-remote", config.allow_remote,
               "Serve beyond this machine also without tokens or without TLS");
  app.add_option("--metrics-listen", texts.metrics_listen,
                 "Address of /metrics, /healthz and /readyz over HTTP, such as 127.0.0.1:7421, or "
                 "none")
      ->capture_default_str();
  app.add_option("--auth", config.auth,
                 "off: whoever reaches an address may everything; tokens: every call needs one")
      ->check(OneOf({"off", "tokens"}))
      ->capture_default_str();
  const auto pem = [&](const char* flag, std::string& path, const char* text) {
    app.add_option(flag, path, text)->type_name("FILE");
  };
  pem("--tls-cert", config.tls_cert,
      "The daemon's certificate and its chain, PEM: TLS on every port");
  pem("--tls-key", config.tls_key, "Its private key, PEM");
  pem("--tls-client-ca", config.tls_client_ca,
      "Clients must show a certificate that this authority signed, PEM");
  app.add_option(
         "--audit-log", texts.audit_log,
         "Who removed, decided, granted what, or was refused, a line each: a file, none, or "
         "default: audit.log in the data directory")
      ->capture_default_str();
  app.add_option("--idle-timeout", texts.idle_timeout,
                 "End chunk streams on which nothing moves for this long")
      ->capture_default_str();
  app.add_option("--memory-limit", config.memory_limit,
                 "Memory for what is being received, at least 64MiB")
      ->transform(Size())
      ->default_str("1GiB");
  app.add_option("--create-admin-token", config.create_admin_token,
                 "Make a token that may everything, write it into this new file (-: to standard "
                 "output), and end")
      ->configurable(false);
  app.add_option("--log-level", config.log_level, "debug, info, warn or error")
      ->check(OneOf({"debug", "info", "warn", "error"}))
      ->capture_default_str();
  app.add_option("--keep-free", config.keep_free_bytes,
                 "Refuse uploads that would leave less of the disk free than this")
      ->transform(Size())
      ->default_str("64MiB");
  app.add_option("--budget", texts.budget,
                 "What each project's runs may take on disk together, such as 500GiB, or none")
      ->capture_default_str();
  app.add_option("--quota-bytes", texts.quota_bytes,
                 "What each project may have on disk at most, such as 500GiB, or none")
      ->capture_default_str();
  app.add_option("--quota-checkpoints", texts.quota_checkpoints,
                 "How many checkpoints each project may have, those on their way too, or none")
      ->check(CountUpTo(UINT64_MAX, /*or_none=*/true))
      ->capture_default_str();
  app.add_option("--quota-uploads", texts.quota_uploads,
                 "How many uploads each project may have open at a time, or none")
      ->check(CountUpTo(UINT64_MAX, /*or_none=*/true))
      ->capture_default_str();
  app.add_option("--io", config.io,
                 "How packs are written: auto (io_uring where the kernel allows it) or plain (by "
                 "threads)")
      ->check(OneOf({"auto", "plain"}))
      ->capture_default_str();
  app.add_option("--drain-timeout", texts.drain_timeout,
                 "How long running calls may go on after SIGTERM")
      ->capture_default_str();
  app.add_option("--stuck-after", texts.stuck_after,
                 "When a background thread of which nothing is heard counts as stuck")
      ->capture_default_str();
  app.add_option("--nice", config.nice,
                 "How far ckptd gives way to training on the same machine: the processor's "
                 "priority as of nice, 0 to 19")
      ->check(CLI::Range(0, 19))
      ->capture_default_str();
  app.add_option("--ticket-ttl", texts.ticket_ttl, "How long a resume holds its checkpoint")
      ->capture_default_str();
  app.add_option("--prune-interval", texts.prune_interval, "How often time-based work is looked for")
      ->capture_default_str();
  app.add_option("--compress", texts.compress,
                 "Lay history, which is neither the latest nor the best, on disk in fewer bytes: "
                 "on or off")
      ->check(OneOf({"on", "off"}))
      ->capture_default_str();
  app.add_option("--compress-level", config.compress_level, "Of zstd, 1 to 19")
      ->check(CLI::Range(1, 19))
      ->capture_default_str();
  app.add_option("--compress-rate", config.compress_rate,
                 "Read at most so much history a second for that; 0: as fast as it can")
      ->transform(Size())
      ->default_str("64MiB");
  app.add_option("--scrub", texts.scrub,
                 "Read all that is stored, over and over, and compare it with its digests: on or "
                 "off")
      ->check(OneOf({"on", "off"}))
      ->capture_default_str();
  app.add_option("--scrub-rate", config.scrub_rate,
                 "Read at most so much a second for that; 0: as fast as it can")
      ->transform(Size())
      ->default_str("16MiB");
  app.add_option("--scrub-interval", texts.scrub_interval,
                 "How long after a pass of it has ended the next begins")
      ->capture_default_str();
  CLI::Option* rebuild =
      app.add_flag("--rebuild-catalog", config.rebuild_catalog,
                   "Make the catalog anew out of what the packs carry, and end")
          ->configurable(false);
  app.add_option("--from", config.rebuild_from,
                 "Out of this backup (ckptctl backup) and what the packs carry since")
      ->type_name("FILE")
      ->configurable(false)
      ->needs(rebuild);
  texts.policy.AddTo(app);
  for (CLI::Option* option : app.get_options()) {
    if (std::string variable = VariableOf(*option); !variable.empty()) option->envname(variable);
    if (option->get_items_expected_max() == 1) option->take_last();
  }

  try {
    app.parse(argc, argv);
    if (app.get_config_ptr()->count() > 0) {
      config.config_file = app.get_config_ptr()->as<std::string>();
    }
  } catch (const CLI::ParseError& error) {
    std::ostringstream out, err;
    config.stop = true;
    config.exit_code = app.exit(error, out, err) == 0 ? 0 : 2;
    config.text = config.exit_code == 0 ? out.str()
                                        : fmt::format("ckptd: {}\n", SentenceOf(app, error));
    return config;
  }
  if (absl::Status status = Finish(texts, config); !status.ok()) {
    config.stop = true;
    config.exit_code = 2;
    config.text = fmt::format("ckptd: {}\n", std::string(status.message()));
  }
  return config;
}

absl::StatusOr<Config> ReloadConfig(int argc, const char* const* argv) {
  Config config = LoadConfig(argc, argv);
  if (config.stop) {
    // Without the "ckptd: " and the newline that are for a terminal.
    return ckpt::BadField("config", config.text.substr(7, config.text.size() - 8));
  }
  return config;
}

}  // namespace ckptd
