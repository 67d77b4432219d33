// What deploy/ gives to whoever runs ckptd fits the daemon: every metric that the
// dashboard and the alerts ask for is there, the alerts fire when they should, and
// the manifests agree with themselves.
#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <regex>
#include <set>
#include <sstream>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "tests/integration/daemon/operated.h"
#include "tests/testing/programs.h"

namespace ckpt::test {
namespace {

using ::testing::HasSubstr;
using ::testing::IsSupersetOf;

std::string Deployed(const std::string& file) {
  const std::string text = ReadFile(std::string(CKPT_SOURCE_DIR) + "/deploy/" + file);
  EXPECT_NE(text, "") << file;
  return text;
}

std::set<std::string> Matches(const std::string& text, const std::string& pattern, int group = 1) {
  const std::regex regex(pattern);
  std::set<std::string> found;
  for (std::sregex_iterator it(text.begin(), text.end(), regex), end; it != end; ++it) {
    found.insert((*it)[group]);
  }
  return found;
}

// Metrics named in queries.
std::set<std::string> MetricsIn(const std::string& queries) {
  return Matches(queries, "\\b(ckptd_[a-z_]+)\\b");
}
// Labels that they select or sum by, other than those that Prometheus adds.
std::set<std::string> LabelsIn(const std::string& queries) {
  std::set<std::string> labels = Matches(queries, "[{,]\\s*([a-z]+)\\s*(=~|!~|!=|=)\"");
  for (const std::string& list : Matches(queries, "\\bby \\(([a-z, ]+)\\)")) {
    std::istringstream words(std::regex_replace(list, std::regex(","), " "));
    for (std::string word; words >> word;) labels.insert(word);
  }
  labels.erase("instance");
  labels.erase("job");
  return labels;
}

std::vector<std::string> DashboardQueries() {
  std::vector<std::string> queries;
  const auto dashboard = nlohmann::json::parse(Deployed("grafana/ckptd.json"));
  for (const auto& panel : dashboard["panels"]) {
    for (const auto& target : panel.value("targets", nlohmann::json::array())) {
      queries.push_back(target["expr"]);
    }
  }
  return queries;
}

// The text behind each `expr:` of the rules.
std::string AlertQueries() {
  std::string queries;
  std::istringstream in(Deployed("prometheus/alerts.yml"));
  bool inside = false;
  for (std::string line; std::getline(in, line);) {
    const bool is_key = std::regex_search(line, std::regex("^\\s+(- )?[a-z]+:"));
    if (is_key) inside = line.find("expr:") != std::string::npos;
    if (inside) queries += line + "\n";
  }
  return queries;
}

// A daemon that has been pushed to, and refused something.
class ExportedTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(daemon_.Start());
    auto client = Connect(daemon_.address());
    const RunName run{"default", "r"};
    auto pushed = PushShard(*client, run, OpenAttempt(*client, run), 1, MakeShard(1, 100));
    ASSERT_TRUE(pushed.ok()) << pushed.status();
    EXPECT_FALSE(client->GetCheckpoint(4711).ok());
    for (const auto& [series, value] : daemon_.Metrics()) {
      const std::string name = series.substr(0, series.find('{'));
      names_.insert(name);
      if (name.ends_with("_bucket")) names_.insert(name.substr(0, name.rfind('_')));
      for (const std::string& label : Matches(series, "[{,]([a-z]+)=\"")) labels_.insert(label);
    }
  }

  ckptd::os::TempDir dir_;
  OperatedDaemon daemon_{dir_ / "data"};
  std::set<std::string> names_, labels_;
};

TEST_F(ExportedTest, EveryMetricThatTheDashboardAsksForIsThere) {
  const std::vector<std::string> queries = DashboardQueries();
  EXPECT_GT(queries.size(), 20u);
  for (const std::string& query : queries) {
    EXPECT_FALSE(MetricsIn(query).empty()) << query;
    EXPECT_THAT(names_, IsSupersetOf(MetricsIn(query))) << query;
    EXPECT_THAT(labels_, IsSupersetOf(LabelsIn(query))) << query;
  }
}

TEST_F(ExportedTest, EveryMetricThatTheAlertsAskForIsThere) {
  const std::string queries = AlertQueries();
  EXPECT_GT(MetricsIn(queries).size(), 10u);
  EXPECT_THAT(names_, IsSupersetOf(MetricsIn(queries)));
  EXPECT_THAT(labels_, IsSupersetOf(LabelsIn(queries)));
}

TEST_F(ExportedTest, TheReadmeNamesNoMetricThatIsNot) {
  const std::string readme = ReadFile(std::string(CKPT_SOURCE_DIR) + "/README.md");
  const std::set<std::string> named = MetricsIn(readme);
  EXPECT_GT(named.size(), 5u);
  EXPECT_THAT(names_, IsSupersetOf(named));
}

TEST_F(ExportedTest, PrometheusFindsNothingToCorrect) {
  const std::string promtool = "/usr/bin/promtool";
  if (!std::filesystem::exists(promtool)) GTEST_SKIP() << promtool << " is not installed";
  const std::string metrics = dir_ / "metrics";
  std::ofstream(metrics) << daemon_.Ask("/metrics").body;
  Process check({"/bin/sh", "-c", fmt::format("{} check metrics < {}", promtool, metrics)},
                dir_ / "check.log");
  EXPECT_EQ(check.Wait(), (Ended{.code = 0})) << check.Output();
}

TEST(AlertsTest, FireWhenTheyShould) {
  const std::string promtool = "/usr/bin/promtool";
  if (!std::filesystem::exists(promtool)) GTEST_SKIP() << promtool << " is not installed";
  const ckptd::os::TempDir dir;
  // The cases name the rules by a path beside them.
  std::ofstream(dir / "alerts.yml") << Deployed("prometheus/alerts.yml");
  std::ofstream(dir / "alerts_test.yml")
      << ReadFile(std::string(CKPT_SOURCE_DIR) + "/tests/integration/deploy/alerts_test.yml");
  Process test({promtool, "test", "rules", dir / "alerts_test.yml"}, dir / "test.log");
  EXPECT_EQ(test.Wait(), (Ended{.code = 0})) << test.Output();
}

TEST(AlertsTest, EachHasACase) {
  const std::set<std::string> alerts = Matches(Deployed("prometheus/alerts.yml"), "alert: (\\w+)");
  const std::string cases =
      ReadFile(std::string(CKPT_SOURCE_DIR) + "/tests/integration/deploy/alerts_test.yml");
  EXPECT_GT(alerts.size(), 10u);
  EXPECT_EQ(Matches(cases, "alertname: (\\w+)\n"), alerts) << "each has one where it fires";
}

TEST(DeployTest, ManifestsAgreeWithThemselvesAndTheImage) {
  const std::string manifest = Deployed("kubernetes/ckptd.yaml");
  const std::string image = Deployed("Dockerfile");
  const auto number = [](const std::string& text, const std::string& pattern) {
    const std::set<std::string> found = Matches(text, pattern);
    EXPECT_EQ(found.size(), 1u) << pattern << " is there once, or always the same";
    return found.empty() ? -1 : std::atoi(found.begin()->c_str());
  };
  const int grpc = number(manifest, "--listen=0\\.0\\.0\\.0:(\\d+)");
  const int metrics = number(manifest, "--metrics-listen=0\\.0\\.0\\.0:(\\d+)");
  EXPECT_EQ(number(manifest, "name: grpc, containerPort: (\\d+)"), grpc);
  EXPECT_EQ(number(manifest, "name: metrics, containerPort: (\\d+)"), metrics);
  EXPECT_EQ(number(manifest, "name: grpc, port: (\\d+)"), grpc);
  EXPECT_EQ(number(manifest, "name: metrics, port: (\\d+)"), metrics);
  EXPECT_EQ(number(manifest, "prometheus.io/port: \"(\\d+)\""), metrics);
  // Who is killed while it drains has drained for nothing.
  EXPECT_GT(number(manifest, "terminationGracePeriodSeconds: (\\d+)"),
            number(manifest, "--drain-timeout=(\\d+)s"));
  EXPECT_EQ(number(manifest, "run[A-Za-z]+: (\\d+)"), number(image, "--uid (\\d+)"));
  EXPECT_EQ(number(image, "--listen\", \"0\\.0\\.0\\.0:(\\d+)"), grpc);
  EXPECT_EQ(number(image, "--metrics-listen\", \"0\\.0\\.0\\.0:(\\d+)"), metrics);
  EXPECT_THAT(image, HasSubstr(fmt::format("EXPOSE {} {}\n", grpc, metrics)));
  for (const char* probe : {"startupProbe", "livenessProbe", "readinessProbe"}) {
    EXPECT_THAT(manifest, HasSubstr(probe));
  }
  EXPECT_EQ(Matches(manifest, "httpGet: \\{path: (\\S+), port: metrics\\}"),
            (std::set<std::string>{"/healthz", "/readyz"}));
}

// The flags that the manifests give are the daemon's.
TEST(DeployTest, TheFlagsOfTheManifestsAreTaken) {
  const ckptd::os::TempDir dir;
  std::vector<std::string> command = {kCkptd};
  for (std::string flag : Matches(Deployed("kubernetes/ckptd.yaml"), "- (--[^\n]+)")) {
    if (flag.starts_with("--data-dir=")) flag = "--data-dir=" + (dir / "data");
    // Other ports: these may be taken here.
    if (flag.find("listen=") != std::string::npos) flag = flag.substr(0, flag.rfind(':')) + ":0";
    command.push_back(flag);
  }
  EXPECT_GE(command.size(), 5u);
  Process daemon(command, dir / "log");
  EXPECT_TRUE(daemon.WaitForOutput("metrics and health on")) << daemon.Output();
  EXPECT_EQ(daemon.KillAndWait(SIGTERM), (Ended{.code = 0})) << daemon.Output();
}

}  // namespace
}  // namespace ckpt::test
