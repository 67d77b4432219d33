// The text that Prometheus reads: right by its rules, whatever is in the figures.
#include "daemon/monitor/families.h"

#include <regex>
#include <set>
#include <sstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/testing/http.h"

namespace ckptd {
namespace {

using ::ckpt::test::ParseMetrics;
using ::ckpt::test::Series;
using ::testing::HasSubstr;
using ::testing::Not;

Gauges Full() {
  Gauges gauges{.version = "1.2.3", .uptime = absl::Seconds(90), .keep_free_bytes = 7};
  gauges.stats = ckpt::Stats{.runs = 3, .disk_free_bytes = uint64_t{1} << 50};
  gauges.catalog_bytes = 4096;
  return gauges;
}

TEST(Families, FollowTheConventionsForNames) {
  Metrics metrics({"Get"});
  std::istringstream in(ToText(metrics, Full()));
  std::map<std::string, std::string> types;
  std::set<std::string> helped;
  for (std::string line; std::getline(in, line);) {
    std::istringstream words(line);
    std::string hash, what, name, rest;
    words >> hash >> what >> name >> rest;
    if (what == "TYPE") types[name] = rest;
    if (what == "HELP" && !rest.empty()) helped.insert(name);
  }
  EXPECT_GT(types.size(), 30u);
  for (const auto& [name, type] : types) {
    EXPECT_TRUE(std::regex_match(name, std::regex("ckptd_[a-z]+(_[a-z]+)*"))) << name;
    EXPECT_TRUE(helped.contains(name)) << name;
    EXPECT_EQ(name.ends_with("_total"), type == "counter") << name << " is a " << type;
    EXPECT_TRUE(type != "histogram" || name.ends_with("_seconds")) << name;
  }
}

TEST(Families, ShowWhatWasCounted) {
  Metrics metrics({"Get"});
  metrics.pushes.Add(5);
  metrics.sent_bytes.Add(uint64_t{1} << 52);
  metrics.kept_by[static_cast<size_t>(ckpt::Reason::Rule::kEverySteps)].Add(2);
  metrics.removed_by[static_cast<size_t>(ckpt::Reason::Rule::kBudget)].Add(3);
  metrics.disk.data_sync_seconds.Observe(absl::Milliseconds(30));
  CallMeter(metrics, "Get", absl::StatusCode::kDataLoss).End(absl::StatusCode::kDataLoss);
  Gauges gauges = Full();
  gauges.health.ready = false;
  gauges.load.missing_bytes = 11;
  const Series series = ParseMetrics(ToText(metrics, gauges));
  struct Case {
    const char* series;
    double value;
  };
  for (const Case& c : {
           Case{"ckptd_pushes_total", 5},
           Case{"ckptd_sent_bytes_total", 4503599627370496.0},
           Case{"ckptd_fetches_total", 0},
           Case{R"(ckptd_retention_decisions_total{decision="kept",rule="every_steps"})", 2},
           Case{R"(ckptd_retention_decisions_total{decision="removed",rule="budget"})", 3},
           Case{R"(ckptd_retention_decisions_total{decision="removed",rule="newest"})", 0},
           Case{R"(ckptd_sync_seconds_bucket{what="data",le="0.025"})", 0},
           Case{R"(ckptd_sync_seconds_bucket{what="data",le="0.05"})", 1},
           Case{R"(ckptd_sync_seconds_bucket{what="data",le="+Inf"})", 1},
           Case{R"(ckptd_sync_seconds_sum{what="data"})", 0.03},
           Case{R"(ckptd_sync_seconds_count{what="names"})", 0},
           Case{R"(ckptd_calls_total{method="Get",code="OK"})", 0},
           Case{R"(ckptd_calls_total{method="Get",code="DATA_LOSS"})", 1},
           Case{R"(ckptd_call_seconds_count{method="Get"})", 1},
           Case{R"(ckptd_calls_running{method="Get"})", 0},
           Case{R"(ckptd_build_info{version="1.2.3"})", 1},
           Case{"ckptd_uptime_seconds", 90},
           Case{"ckptd_live", 1},
           Case{"ckptd_ready", 0},
           Case{"ckptd_uploads_missing_bytes", 11},
           Case{"ckptd_disk_free_bytes", 1125899906842624.0},
           Case{"ckptd_disk_keep_free_bytes", 7},
           Case{"ckptd_runs", 3},
           Case{"ckptd_catalog_bytes", 4096},
       }) {
    const auto found = series.find(c.series);
    ASSERT_NE(found, series.end()) << c.series;
    EXPECT_DOUBLE_EQ(found->second, c.value) << c.series;
  }
}

TEST(Families, LeaveOutWhatIsNotKnown) {
  const Metrics metrics;
  Gauges gauges = Full();
  gauges.stats.reset();
  gauges.catalog_bytes.reset();
  const std::string text = ToText(metrics, gauges);
  EXPECT_THAT(text, Not(HasSubstr("ckptd_disk_free_bytes")));
  EXPECT_THAT(text, Not(HasSubstr("ckptd_catalog_bytes")));
  EXPECT_THAT(text, HasSubstr("ckptd_pushes_total 0\n"));
}

TEST(Families, EveryRuleHasANameOfItsOwn) {
  const Metrics metrics;
  std::set<std::string> rules;
  for (const auto& [series, value] : ParseMetrics(ToText(metrics, Full()))) {
    std::smatch match;
    if (std::regex_search(series, match, std::regex("decision=\"kept\",rule=\"([a-z_]+)\""))) {
      rules.insert(match[1]);
    }
  }
  EXPECT_EQ(rules.size(), Metrics::kRules - 1);
}

}  // namespace
}  // namespace ckptd
