#include "daemon/config.h"

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <sstream>

#include <CLI/CLI.hpp>
#include <absl/strings/ascii.h>
#include <absl/strings/numbers.h>
#include <absl/strings/str_join.h>
#include <absl/strings/str_split.h>
#include <fmt/format.h>

#include "proto/convert.h"
#include "proto/limits.h"
#include "proto/names.h"

namespace ckptd {
namespace {

constexpr uint64_t kLeastMemory = 64ull << 20;

// Durations and the best rule come as text and are parsed after CLI11 is done.
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
  std::string keep_last = "3";
  std::vector<std::string> keep_best = {"1:val_loss:min"};
  bool keep_all = false;
  uint64_t keep_every_steps = 0;
  std::string keep_within;
  uint32_t keep_hourly = 0, keep_daily = 0, keep_weekly = 0, keep_monthly = 0, keep_yearly = 0;
  uint64_t keep_bytes = 0;
  std::string metric_grace = "1h";
  std::string restore_grace = "0s";
  std::string upload_deadline = "24h";
};

std::string DefaultDataDir() {
  if (const char* state = std::getenv("STATE_DIRECTORY")) return state;  // from systemd
  if (const char* home = std::getenv("HOME")) return std::string(home) + "/.local/share/ckptd";
  return "/var/lib/ckptd";
}

absl::StatusOr<absl::Duration> ParseTime(const char* name, const std::string& text) {
  absl::Duration duration;
  if (!absl::ParseDuration(text, &duration) || duration < absl::ZeroDuration()) {
    return ckpt::BadField(name, fmt::format("{}: \"{}\" is no length of time; write for example "
                                            "90s, 15m or 24h", name, ckpt::Printable(text)));
  }
  return duration;
}

absl::StatusOr<ckpt::BestRule> ParseBest(const std::string& text) {
  std::vector<std::string> parts = absl::StrSplit(text, ':');
  ckpt::BestRule rule;
  bool good = parts.size() == 3 && absl::SimpleAtoi(parts[0], &rule.count) &&
              (parts[2] == "min" || parts[2] == "max");
  if (!good) {
    return ckpt::BadField("keep-best", fmt::format("keep-best: \"{}\" is not N:METRIC:min or "
                                                   "N:METRIC:max; write for example "
                                                   "1:val_loss:min", ckpt::Printable(text)));
  }
  rule.metric = parts[1];
  rule.mode = parts[2] == "min" ? ckpt::MetricMode::kMin : ckpt::MetricMode::kMax;
  return rule;
}

absl::StatusOr<ckpt::Policy> ParsePolicy(const Texts& texts) {
  ckpt::Policy policy;
  ASSIGN_OR_RETURN(policy.metric_grace, ParseTime("metric-grace", texts.metric_grace));
  ASSIGN_OR_RETURN(policy.restore_grace, ParseTime("restore-grace", texts.restore_grace));
  ASSIGN_OR_RETURN(policy.upload_deadline, ParseTime("upload-deadline", texts.upload_deadline));
  if (!texts.keep_all) {
    if (uint32_t count = 0; absl::SimpleAtoi(texts.keep_last, &count)) policy.keep_last = count;
    for (const std::string& text : texts.keep_best) {
      if (text.empty() || text == "none") continue;
      ASSIGN_OR_RETURN(ckpt::BestRule rule, ParseBest(text));
      policy.keep_best.push_back(rule);
    }
    // Absent is off; a zero that was written out was refused.
    auto set = [](auto& rule, auto value) {
      if (value != 0) rule = value;
    };
    set(policy.keep_every_steps, texts.keep_every_steps);
    set(policy.keep_hourly, texts.keep_hourly);
    set(policy.keep_daily, texts.keep_daily);
    set(policy.keep_weekly, texts.keep_weekly);
    set(policy.keep_monthly, texts.keep_monthly);
    set(policy.keep_yearly, texts.keep_yearly);
    set(policy.keep_bytes, texts.keep_bytes);
    if (!texts.keep_within.empty()) {
      ASSIGN_OR_RETURN(policy.keep_within, ParseTime("keep-within", texts.keep_within));
    }
  }
  RETURN_IF_ERROR(ckpt::CheckPolicy(policy));
  return policy;
}

std::string Quoted(const std::string& text) { return fmt::format("\"{}\"", ckpt::Printable(text)); }

// CLI11 puts the flag's name before what these say.
CLI::Validator CountUpTo(uint64_t most, bool or_none = false) {
  return CLI::Validator(
      [=](const std::string& text) -> std::string {
        if (or_none && text == "none") return "";
        uint64_t value = 0;
        if (!absl::SimpleAtoi(text, &value) || value > most) {
          return fmt::format("{} is no whole number from 1 to {}", Quoted(text), most);
        }
        if (value > 0) return "";
        return fmt::format("zero would keep nothing; {} to turn it off",
                           or_none ? "write none" : "leave it out");
      },
      "");
}
CLI::Validator Count32() { return CountUpTo(UINT32_MAX); }
CLI::Validator Count64() { return CountUpTo(UINT64_MAX); }

CLI::Validator OneOf(std::vector<std::string> words) {
  return CLI::Validator(
      [words](const std::string& text) -> std::string {
        if (std::find(words.begin(), words.end(), text) != words.end()) return "";
        return fmt::format("{} is none of {}", Quoted(text), absl::StrJoin(words, ", "));
      },
      "");
}

CLI::Validator Size() {
  return CLI::Validator(
      [](std::string& text) -> std::string {
        const std::string was = text;
        try {
          if (CLI::AsSizeValue(false)(text).empty()) return "";
        } catch (const CLI::Error&) {
        }
        return fmt::format("{} is no size; write for example 512MiB or 50GiB", Quoted(was));
      },
      "");
}

absl::StatusOr<uint64_t> ParseLimit(const char* name, const std::string& text) {
  if (text == "none") return uint64_t{0};
  std::string number = text;
  uint64_t bytes = 0;
  // The validator writes the size out as a number.
  if (Size()(number).empty() && absl::SimpleAtoi(number, &bytes) && bytes > 0) return bytes;
  return ckpt::BadField(name, fmt::format("{}: {} is no size above zero; write for example 500GiB, "
                                          "or none",
                                          name, Quoted(text)));
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

void AddPolicyOptions(CLI::App& app, Texts& texts) {
  auto add = [&](const char* name, auto& value, const char* text) {
    return app.add_option(name, value, text)->group("Default policy, for runs without their own");
  };
  add("--keep-last", texts.keep_last, "Keep the newest N, or none for no such rule (default 3)")
      ->check(CountUpTo(UINT32_MAX, /*or_none=*/true));
  add("--keep-best", texts.keep_best,
      "Keep the best N by a metric: N:METRIC:min|max, or none (default 1:val_loss:min)")
      ->delimiter(',');
  add("--keep-every-steps", texts.keep_every_steps, "Keep the nearest to each multiple of S steps")
      ->check(Count64());
  add("--keep-within", texts.keep_within, "Keep this long before the newest commit");
  add("--keep-hourly", texts.keep_hourly, "Keep one of each of the last N hours that have one")
      ->check(Count32());
  add("--keep-daily", texts.keep_daily, "The same for days")->check(Count32());
  add("--keep-weekly", texts.keep_weekly, "The same for weeks")->check(Count32());
  add("--keep-monthly", texts.keep_monthly, "The same for months")->check(Count32());
  add("--keep-yearly", texts.keep_yearly, "The same for years")->check(Count32());
  add("--keep-bytes", texts.keep_bytes, "Keep the newest that fit together, such as 50GiB")
      ->transform(Size())
      ->check(Count64());
  app.add_flag("--keep-all", texts.keep_all, "No rules: keep everything")
      ->group("Default policy, for runs without their own");
  add("--metric-grace", texts.metric_grace, "How long an announced metric is waited for");
  add("--restore-grace", texts.restore_grace, "How long a removed checkpoint can be brought back");
  add("--upload-deadline", texts.upload_deadline, "When unfinished uploads are dropped");
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
  ASSIGN_OR_RETURN(config.default_policy, ParsePolicy(texts));
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
  AddPolicyOptions(app, texts);
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
