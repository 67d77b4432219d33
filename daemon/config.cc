#include "daemon/config.h"

#include <cstdlib>
#include <sstream>

#include <CLI/CLI.hpp>
#include <absl/strings/numbers.h>
#include <absl/strings/str_split.h>
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include "proto/convert.h"
#include "proto/limits.h"
#include "proto/names.h"

namespace ckptd {
namespace {

// Durations and the best rule come as text and are parsed after CLI11 is done.
struct Texts {
  std::string drain_timeout = "30s";
  std::string ticket_ttl = "10m";
  std::string prune_interval = "30s";
  uint32_t keep_last = 3;
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
    policy.keep_last = texts.keep_last;
    for (const std::string& text : texts.keep_best) {
      if (text.empty() || text == "none") continue;
      ASSIGN_OR_RETURN(ckpt::BestRule rule, ParseBest(text));
      policy.keep_best.push_back(rule);
    }
    // Absent is off; CLI11 refuses a zero that was written out.
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

void AddPolicyOptions(CLI::App& app, Texts& texts) {
  auto add = [&](const char* name, auto& value, const char* text) {
    return app.add_option(name, value, text)->group("Default policy, for runs without their own");
  };
  add("--keep-last", texts.keep_last, "Keep the newest N")->check(CLI::PositiveNumber);
  add("--keep-best", texts.keep_best, "Keep the best N by a metric: N:METRIC:min|max, or none");
  add("--keep-every-steps", texts.keep_every_steps, "Keep the nearest to each multiple of S steps")
      ->check(CLI::PositiveNumber);
  add("--keep-within", texts.keep_within, "Keep this long before the newest commit");
  add("--keep-hourly", texts.keep_hourly, "Keep one of each of the last N hours that have one")
      ->check(CLI::PositiveNumber);
  add("--keep-daily", texts.keep_daily, "The same for days")->check(CLI::PositiveNumber);
  add("--keep-weekly", texts.keep_weekly, "The same for weeks")->check(CLI::PositiveNumber);
  add("--keep-monthly", texts.keep_monthly, "The same for months")->check(CLI::PositiveNumber);
  add("--keep-yearly", texts.keep_yearly, "The same for years")->check(CLI::PositiveNumber);
  add("--keep-bytes", texts.keep_bytes, "Keep the newest that fit together, such as 50GiB")
      ->transform(CLI::AsSizeValue(false));
  app.add_flag("--keep-all", texts.keep_all, "No rules: keep everything")
      ->group("Default policy, for runs without their own");
  add("--metric-grace", texts.metric_grace, "How long an announced metric is waited for");
  add("--restore-grace", texts.restore_grace, "How long a removed checkpoint can be brought back");
  add("--upload-deadline", texts.upload_deadline, "When unfinished uploads are dropped");
}

absl::Status Finish(const Texts& texts, Config& config) {
  if (config.listen.empty()) config.listen = {ckpt::kDefaultAddress};
  ASSIGN_OR_RETURN(config.drain_timeout, ParseTime("drain-timeout", texts.drain_timeout));
  ASSIGN_OR_RETURN(config.ticket_ttl, ParseTime("ticket-ttl", texts.ticket_ttl));
  ASSIGN_OR_RETURN(config.prune_interval, ParseTime("prune-interval", texts.prune_interval));
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
  app.set_config("--config", "", "A TOML or INI file with these options as keys")
      ->envname("CKPTD_CONFIG");
  // A key that is no option is most likely a typo, and is refused.
  app.allow_config_extras(CLI::config_extras_mode::error);
  config.data_dir = DefaultDataDir();
  app.add_option("--data-dir", config.data_dir, "Where packs and catalog are kept")
      ->capture_default_str();
  app.add_option("--listen", config.listen,
                 "Address to serve on, host:port or unix:PATH; may be given several times "
                 "(default 127.0.0.1:7420)")
      ->delimiter(',');
  app.add_flag("--allow-remote", config.allow_remote,
               "Serve beyond this machine although nothing is encrypted or authenticated");
  app.add_option("--log-level", config.log_level, "debug, info, warn or error")
      ->check(CLI::IsMember({"debug", "info", "warn", "error"}))
      ->capture_default_str();
  app.add_option("--keep-free", config.keep_free_bytes,
                 "Refuse uploads that would leave less of the disk free than this")
      ->transform(CLI::AsSizeValue(false))
      ->default_str("64MiB");
  app.add_option("--drain-timeout", texts.drain_timeout,
                 "How long running calls may go on after SIGTERM")
      ->capture_default_str();
  app.add_option("--ticket-ttl", texts.ticket_ttl, "How long a resume holds its checkpoint")
      ->capture_default_str();
  app.add_option("--prune-interval", texts.prune_interval, "How often time-based work is looked for")
      ->capture_default_str();
  AddPolicyOptions(app, texts);
  for (CLI::Option* option : app.get_options()) {
    std::string name = option->get_name(false, true);
    if (option->get_lnames().empty() || name == "--help" || name == "--version") continue;
    std::string variable = "CKPTD_" + option->get_lnames()[0];
    for (char& c : variable) c = c == '-' ? '_' : static_cast<char>(std::toupper(c));
    option->envname(variable);
  }

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    std::ostringstream out, err;
    config.stop = true;
    config.exit_code = app.exit(error, out, err) == 0 ? 0 : 2;
    config.text = config.exit_code == 0 ? out.str() : fmt::format("ckptd: {}\n", error.what());
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
    return ckpt::BadField("config", config.text);
  }
  return config;
}

}  // namespace ckptd
