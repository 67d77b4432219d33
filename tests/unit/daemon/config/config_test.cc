// ckptd's settings: where each comes from, and what is said of a mistake.
#include "daemon/config.h"

#include <cctype>
#include <cstdlib>
#include <fstream>
#include <map>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/testing/temp_dir.h"

namespace ckptd {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

class ConfigTest : public ::testing::Test {
 protected:
  Config Load(const std::vector<std::string>& flags, const std::string& file = "",
              const std::map<std::string, std::string>& environment = {}) {
    std::vector<const char*> argv = {"ckptd"};
    for (const std::string& flag : flags) argv.push_back(flag.c_str());
    const std::string config = "--config=" + path_;
    if (!file.empty()) {
      std::ofstream(path_) << file;
      argv.push_back(config.c_str());
    }
    for (const auto& [name, value] : environment) setenv(name.c_str(), value.c_str(), 1);
    Config loaded = LoadConfig(static_cast<int>(argv.size()), argv.data());
    for (const auto& [name, value] : environment) unsetenv(name.c_str());
    return loaded;
  }
  static std::string PolicyText(const Config& config) {
    return config.stop ? config.text : ckpt::ToString(config.default_policy);
  }

  os::TempDir dir_;
  const std::string path_ = dir_ / "ckptd.toml";
};

TEST_F(ConfigTest, NothingHasToBeSet) {
  const Config config = Load({}, "", {{"HOME", "/home/x"}});
  EXPECT_FALSE(config.stop) << config.text;
  EXPECT_EQ(config.data_dir, "/home/x/.local/share/ckptd");
  EXPECT_THAT(config.listen, ElementsAre("127.0.0.1:7420"));
  EXPECT_EQ(config.log_level, "info");
  EXPECT_EQ(config.keep_free_bytes, 64u << 20);
  EXPECT_EQ(config.io, "auto");
  EXPECT_EQ(config.nice, 10);
  EXPECT_EQ(config.budget, 0u);
  EXPECT_EQ(config.default_policy, ckpt::Policy::Default());
  EXPECT_EQ(config.drain_timeout, absl::Seconds(30));
  EXPECT_EQ(config.ticket_ttl, absl::Minutes(10));
  EXPECT_FALSE(config.allow_remote);
  EXPECT_EQ(config.metrics_listen, "");
  EXPECT_EQ(config.stuck_after, absl::Minutes(5));
  EXPECT_EQ(Load({}, "", {{"STATE_DIRECTORY", "/var/lib/ckptd"}}).data_dir, "/var/lib/ckptd");
}

TEST_F(ConfigTest, ABudgetIsASizeOrNone) {
  EXPECT_EQ(Load({"--budget", "2GiB"}).budget, 2ull << 30);
  EXPECT_EQ(Load({}, "budget = \"3KiB\"\n").budget, 3072u);
  EXPECT_EQ(Load({"--budget", "none"}, "budget = \"1GiB\"\n").budget, 0u);
}

TEST_F(ConfigTest, TheAuditLogLiesWithTheDataUnlessSaidOtherwise) {
  EXPECT_EQ(Load({"--data-dir", "/d"}).audit_log, "/d/audit.log");
  EXPECT_EQ(Load({"--data-dir", "/d", "--audit-log", "none"}).audit_log, "");
}

TEST_F(ConfigTest, AQuotaIsANumberOrNone) {
  EXPECT_EQ(Load({}).quota_bytes + Load({}).quota_checkpoints + Load({}).quota_uploads, 0u);
  EXPECT_EQ(Load({"--quota-checkpoints", "none"}).quota_checkpoints, 0u);
  for (const std::vector<std::string>& bad :
       std::vector<std::vector<std::string>>{{"--quota-bytes", "0"},
                                             {"--quota-bytes", "lots"},
                                             {"--quota-checkpoints", "0"},
                                             {"--quota-uploads", "-1"},
                                             {"--idle-timeout", "0"},
                                             {"--memory-limit", "1MiB"}}) {
    EXPECT_EQ(Load(bad).exit_code, 2) << bad[0] << " " << bad[1];
  }
}

TEST_F(ConfigTest, FlagsGoOverTheEnvironmentOverTheFile) {
  struct Case {
    std::vector<std::string> flags;
    std::map<std::string, std::string> environment;
    std::string file;
    std::string want;
  };
  const std::map<std::string, std::string> variable = {{"CKPTD_LOG_LEVEL", "warn"}};
  for (const Case& c : std::vector<Case>{
           {{}, {}, "log-level = \"error\"\n", "error"},
           {{}, variable, "", "warn"},
           {{}, variable, "log-level = \"error\"\n", "warn"},
           {{}, {{"CKPTD_LOG_LEVEL", ""}}, "log-level = \"error\"\n", "error"},
           {{"--log-level", "debug"}, {}, "log-level = \"error\"\n", "debug"},
           {{"--log-level", "debug"}, variable, "", "debug"},
           {{"--log-level=debug"}, variable, "log-level = \"error\"\n", "debug"},
           {{"--log-level", "debug", "--log-level", "warn"}, {}, "", "warn"},
       }) {
    const Config config = Load(c.flags, c.file, c.environment);
    EXPECT_FALSE(config.stop) << config.text;
    EXPECT_EQ(config.log_level, c.want);
  }
}

TEST_F(ConfigTest, TheFileIsTomlOrIni) {
  const struct {
    const char* name;
    const char* text;
  } files[] = {
      {"toml",
       "# a comment\ndata-dir = \"/data dir\"\nlisten = [\"127.0.0.1:1\", \"unix:/run/x\"]\n"
       "keep-best = [\"2:loss:min\", \"1:acc:max\"]\nkeep-last = 5\nkeep-free = \"1GiB\"\n"
       "allow-remote = true\nmetric-grace = \"90s\"\n"},
      {"ini",
       "; a comment\ndata-dir=\"/data dir\"\nlisten=127.0.0.1:1 unix:/run/x\n"
       "keep-best=2:loss:min 1:acc:max\nkeep-last=5\nkeep-free=1GiB\nallow-remote=true\n"
       "metric-grace=90s\n"},
  };
  for (const auto& file : files) {
    SCOPED_TRACE(file.name);
    const Config config = Load({}, file.text);
    ASSERT_FALSE(config.stop) << config.text;
    EXPECT_EQ(config.config_file, path_);
    EXPECT_EQ(config.data_dir, "/data dir");
    EXPECT_THAT(config.listen, ElementsAre("127.0.0.1:1", "unix:/run/x"));
    EXPECT_EQ(config.keep_free_bytes, 1u << 30);
    EXPECT_TRUE(config.allow_remote);
    EXPECT_EQ(PolicyText(config),
              "keep_last=5 keep_best=2:loss:min keep_best=1:acc:max metric_grace=1m30s");
  }
}

TEST_F(ConfigTest, EveryFlagHasAVariable) {
  const Config config = Load({}, "",
                             {{"CKPTD_DATA_DIR", "/d"},
                              {"CKPTD_LISTEN", "127.0.0.1:1,unix:/run/x"},
                              {"CKPTD_ALLOW_REMOTE", "true"},
                              {"CKPTD_AUTH", "tokens"},
                              {"CKPTD_TLS_CERT", "/c"},
                              {"CKPTD_TLS_KEY", "/k"},
                              {"CKPTD_TLS_CLIENT_CA", "/ca"},
                              {"CKPTD_AUDIT_LOG", "/a"},
                              {"CKPTD_IDLE_TIMEOUT", "7s"},
                              {"CKPTD_MEMORY_LIMIT", "128MiB"},
                              {"CKPTD_QUOTA_BYTES", "3GiB"},
                              {"CKPTD_QUOTA_CHECKPOINTS", "9"},
                              {"CKPTD_QUOTA_UPLOADS", "8"},
                              {"CKPTD_KEEP_FREE", "2GiB"},
                              {"CKPTD_IO", "plain"},
                              {"CKPTD_METRICS_LISTEN", "127.0.0.1:2"},
                              {"CKPTD_STUCK_AFTER", "90s"},
                              {"CKPTD_DRAIN_TIMEOUT", "5s"},
                              {"CKPTD_TICKET_TTL", "1h"},
                              {"CKPTD_PRUNE_INTERVAL", "1m"},
                              {"CKPTD_NICE", "3"},
                              {"CKPTD_COMPRESS", "off"},
                              {"CKPTD_COMPRESS_LEVEL", "7"},
                              {"CKPTD_COMPRESS_RATE", "1GiB"},
                              {"CKPTD_SCRUB", "off"},
                              {"CKPTD_SCRUB_RATE", "100MiB"},
                              {"CKPTD_SCRUB_INTERVAL", "24h"},
                              {"CKPTD_KEEP_LAST", "4"},
                              {"CKPTD_KEEP_BEST", "1:a:min,2:b:max"},
                              {"CKPTD_KEEP_DAILY", "7"},
                              {"CKPTD_RESTORE_GRACE", "2h"}});
  ASSERT_FALSE(config.stop) << config.text;
  EXPECT_EQ(config.data_dir, "/d");
  EXPECT_THAT(config.listen, ElementsAre("127.0.0.1:1", "unix:/run/x"));
  EXPECT_TRUE(config.allow_remote);
  EXPECT_EQ(config.auth, "tokens");
  EXPECT_EQ(config.tls_cert + config.tls_key + config.tls_client_ca, "/c/k/ca");
  EXPECT_EQ(config.audit_log, "/a");
  EXPECT_EQ(config.idle_timeout, absl::Seconds(7));
  EXPECT_EQ(config.memory_limit, 128ull << 20);
  EXPECT_EQ(config.quota_bytes, 3ull << 30);
  EXPECT_EQ(config.quota_checkpoints, 9u);
  EXPECT_EQ(config.quota_uploads, 8u);
  EXPECT_EQ(config.keep_free_bytes, 2ull << 30);
  EXPECT_EQ(config.io, "plain");
  EXPECT_EQ(config.metrics_listen, "127.0.0.1:2");
  EXPECT_EQ(config.stuck_after, absl::Seconds(90));
  EXPECT_EQ(config.drain_timeout, absl::Seconds(5));
  EXPECT_EQ(config.ticket_ttl, absl::Hours(1));
  EXPECT_EQ(config.prune_interval, absl::Minutes(1));
  EXPECT_FALSE(config.compress);
  EXPECT_EQ(config.nice, 3);
  EXPECT_EQ(config.compress_level, 7);
  EXPECT_EQ(config.compress_rate, 1ull << 30);
  EXPECT_FALSE(config.scrub);
  EXPECT_EQ(config.scrub_rate, 100ull << 20);
  EXPECT_EQ(config.scrub_interval, absl::Hours(24));
  EXPECT_EQ(PolicyText(config),
            "keep_last=4 keep_best=1:a:min keep_best=2:b:max keep_daily=7 "
            "restore_grace=2h");
  EXPECT_EQ(Load({}, "", {{"CKPTD_CONFIG", dir_ / "none"}}).exit_code, 2);
}

TEST_F(ConfigTest, ThePolicyOfFlags) {
  const struct {
    std::vector<std::string> flags;
    const char* want;
  } cases[] = {
      {{}, "keep_last=3 keep_best=1:val_loss:min"},
      {{"--keep-last", "7"}, "keep_last=7 keep_best=1:val_loss:min"},
      {{"--keep-last", "none"}, "keep_best=1:val_loss:min"},
      {{"--keep-best", "none"}, "keep_last=3"},
      {{"--keep-best", "2:acc:max", "--keep-best", "1:loss:min"},
       "keep_last=3 keep_best=2:acc:max keep_best=1:loss:min"},
      {{"--keep-all"}, "keep everything (no rules)"},
      {{"--keep-last=none", "--keep-best=none", "--keep-hourly=24", "--keep-weekly=4",
        "--keep-monthly=12", "--keep-yearly=3", "--keep-every-steps=1000", "--keep-within=48h",
        "--keep-bytes=50GiB"},
       "keep_every_steps=1000 keep_within=48h keep_hourly=24 keep_weekly=4 keep_monthly=12 "
       "keep_yearly=3 keep_bytes=53687091200"},
  };
  for (const auto& c : cases) EXPECT_EQ(PolicyText(Load(c.flags)), c.want);
}

TEST_F(ConfigTest, EveryMistakeIsOneSentence) {
  const struct {
    std::vector<std::string> flags;
    const char* file;
    std::map<std::string, std::string> environment;
    const char* want;  // after "ckptd: "; FILE is the file's path
  } cases[] = {
      {{"--keep-last", "0"},
       "",
       {},
       "--keep-last: zero would keep nothing; write none to turn it off"},
      {{},
       "keep-last = 0\n",
       {},
       "--keep-last: zero would keep nothing; write none to turn it off"},
      {{},
       "",
       {{"CKPTD_KEEP_DAILY", "0"}},
       "--keep-daily: zero would keep nothing; leave it out to turn it off"},
      {{"--keep-every-steps", "0"},
       "",
       {},
       "--keep-every-steps: zero would keep nothing; leave it out to turn it off"},
      {{"--keep-bytes", "0"},
       "",
       {},
       "--keep-bytes: zero would keep nothing; leave it out to turn it off"},
      {{"--keep-last", "many"},
       "",
       {},
       "--keep-last: \"many\" is no whole number from 1 to 4294967295"},
      {{"--keep-yearly", "-1"},
       "",
       {},
       "--keep-yearly: \"-1\" is no whole number from 1 to 4294967295"},
      {{"--keep-hourly", "4294967296"},
       "",
       {},
       "--keep-hourly: \"4294967296\" is no whole number from 1 to 4294967295"},
      {{"--keep-bytes", "much"},
       "",
       {},
       "--keep-bytes: \"much\" is no size; write for example 512MiB or 50GiB"},
      {{"--keep-free", "5XB"},
       "",
       {},
       "--keep-free: \"5XB\" is no size; write for example 512MiB or 50GiB"},
      {{"--budget", "0"},
       "",
       {},
       "budget: \"0\" is no size above zero; write for example 500GiB, or none"},
      {{"--budget", "lots"},
       "",
       {},
       "budget: \"lots\" is no size above zero; write for example 500GiB, or none"},
      {{"--keep-best", "1:loss"},
       "",
       {},
       "keep-best: \"1:loss\" is not N:METRIC:min or N:METRIC:max; write for example "
       "1:val_loss:min"},
      {{"--keep-best", "0:loss:min"},
       "",
       {},
       "policy.keep_best[0].count: zero would keep nothing; leave the rule out to turn it off"},
      {{"--keep-within", "0s"},
       "",
       {},
       "policy.keep_within: must be longer than zero; leave the rule out to turn it off"},
      {{"--drain-timeout", "soon"},
       "",
       {},
       "drain-timeout: \"soon\" is no length of time; write for example 90s, 15m or 24h"},
      {{"--stuck-after", "500ms"}, "", {}, "stuck-after: must be a second or longer"},
      {{"--ticket-ttl", "-5s"},
       "",
       {},
       "ticket-ttl: \"-5s\" is no length of time; write for example 90s, 15m or 24h"},
      {{"--prune-interval", "0s"}, "", {}, "prune-interval: must be longer than zero"},
      {{"--compress", "maybe"}, "", {}, "--compress: \"maybe\" is none of on, off"},
      {{"--scrub", "often"}, "", {}, "--scrub: \"often\" is none of on, off"},
      {{"--scrub-interval", "weekly"},
       "",
       {},
       "scrub-interval: \"weekly\" is no length of time; write for example 90s, 15m or 24h"},
      {{"--log-level", "loud"},
       "",
       {},
       "--log-level: \"loud\" is none of debug, info, warn, error"},
      {{"--what"}, "", {}, "there is no flag --what; `ckptd --help` lists those there are"},
      {{"serve"}, "", {}, "there is no flag serve; `ckptd --help` lists those there are"},
      {{"--config", "/none/x.toml"}, "", {}, "the configuration file /none/x.toml cannot be read"},
      {{},
       "keep-lats = 3\n",
       {},
       "FILE: keep-lats is no setting of ckptd; `ckptd --help` lists them"},
      {{},
       "[policy]\nkeep-last = 3\n",
       {},
       "FILE: section [policy] is no setting of ckptd; `ckptd --help` lists them"},
      {{}, "help = true\n", {}, "FILE: help is no setting of ckptd; `ckptd --help` lists them"},
      {{},
       "config = \"x\"\n",
       {},
       "FILE: config is no setting of ckptd; `ckptd --help` lists them"},
      {{"--from", "x"}, "", {}, "--from requires --rebuild-catalog"},
      // What is done once must not be what every start does.
      {{},
       "rebuild-catalog = true\n",
       {},
       "FILE: rebuild-catalog is no setting of ckptd; `ckptd --help` lists them"},
      // Also where the environment sets what is right.
      {{},
       "keep-lats = 3\n",
       {{"CKPTD_KEEP_LAST", "3"}},
       "FILE: keep-lats is no setting of ckptd; `ckptd --help` lists them"},
  };
  for (const auto& c : cases) {
    const Config config = Load(c.flags, c.file, c.environment);
    std::string want = std::string("ckptd: ") + c.want + "\n";
    if (const size_t at = want.find("FILE"); at != std::string::npos) want.replace(at, 4, path_);
    EXPECT_TRUE(config.stop);
    EXPECT_EQ(config.exit_code, 2);
    EXPECT_EQ(config.text, want);
  }
}

TEST_F(ConfigTest, TheExampleFileIsRightAndComplete) {
  std::ifstream example(CKPT_SOURCE_DIR "/deploy/ckptd.toml");
  std::string text, line;
  while (std::getline(example, line)) {
    // Its settings are commented out: put them in force.
    if (line.size() > 1 && line[0] == '#' && std::islower(line[1])) text += line.substr(1) + "\n";
  }
  const Config config = Load({}, text);
  EXPECT_FALSE(config.stop) << config.text;
  std::string help = Load({"--help"}).text;
  for (size_t at = 0; (at = help.find(" --", at)) != std::string::npos;) {
    const size_t end = help.find_first_of(" ,\n", at += 3);
    const std::string name = help.substr(at, end - at);
    if (name == "help" || name == "version" || name == "config" || name == "create-admin-token") {
      continue;
    }
    if (name == "rebuild-catalog" || name == "from") continue;  // done once, no setting
    EXPECT_THAT(text, HasSubstr(name + " = "));
  }
}

TEST_F(ConfigTest, TheExampleFileTurnsMetricsOnAndChangesNothingElse) {
  std::ifstream example(CKPT_SOURCE_DIR "/deploy/ckptd.toml");
  const Config config = Load({}, {std::istreambuf_iterator<char>(example), {}});
  EXPECT_FALSE(config.stop) << config.text;
  EXPECT_EQ(config.metrics_listen, "127.0.0.1:7421");
  const Config defaults = Load({});
  EXPECT_EQ(config.listen, defaults.listen);
  EXPECT_EQ(config.default_policy, defaults.default_policy);
  EXPECT_EQ(config.drain_timeout, defaults.drain_timeout);
  EXPECT_EQ(config.stuck_after, defaults.stuck_after);
}

TEST_F(ConfigTest, TheCatalogIsRebuiltOnlyByFlags) {
  const Config config = Load({"--rebuild-catalog", "--from", "b"});
  EXPECT_TRUE(config.rebuild_catalog);
  EXPECT_EQ(config.rebuild_from, "b");
  EXPECT_FALSE(Load({}, "", {{"CKPTD_REBUILD_CATALOG", "true"}}).rebuild_catalog);
}

TEST_F(ConfigTest, HelpAndVersionAreAnswers) {
  const Config help = Load({"--help"});
  EXPECT_TRUE(help.stop);
  EXPECT_EQ(help.exit_code, 0);
  EXPECT_THAT(help.text, HasSubstr("CKPTD_KEEP_LAST"));
  EXPECT_THAT(help.text, Not(HasSubstr("CKPTD_HELP")));
  EXPECT_THAT(help.text, Not(HasSubstr("CKPTD_VERSION")));
  const Config version = Load({"--version"});
  EXPECT_EQ(version.exit_code, 0);
  EXPECT_THAT(version.text, ::testing::StartsWith("ckptd "));
}

TEST_F(ConfigTest, AReloadTakesTheFileAgainOrSaysWhatIsWrong) {
  std::ofstream(path_) << "log-level = \"debug\"\n";
  const std::string config = "--config=" + path_;
  const char* argv[] = {"ckptd", config.c_str()};
  EXPECT_EQ(ReloadConfig(2, argv)->log_level, "debug");
  std::ofstream(path_) << "log-level = \"loud\"\n";
  const absl::StatusOr<Config> bad = ReloadConfig(2, argv);
  EXPECT_EQ(std::string(bad.status().message()),
            "--log-level: \"loud\" is none of debug, info, warn, error");
}

}  // namespace
}  // namespace ckptd
