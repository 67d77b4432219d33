// The floor, timelines, and what is held by name or by a reader.
#include <gtest/gtest.h>

#include "tests/unit/daemon/retention/history.h"
#include "tests/unit/daemon/retention/table.h"

namespace ckptd::retention {
namespace {

TEST(RetentionTable, FloorAndTimelines) {
  ExpectAll({
      {"the newest stays although no rule keeps it",
       "best:loss:min:1",
       "1@10 loss=1; 2@20 loss=2",
       {"1 kept: best loss #1", "2 kept: newest on the current timeline"}},
      {"after a rewind the floor is on the current line, not the newest commit",
       "best:loss:min:1",
       "1@10 loss=1; 2@20 loss=5; 3@30 loss=9 off",
       {"1 kept: best loss #1", "2 kept: newest on the current timeline",
        "3 gone: not among the best 1 by loss (is #3)"}},
      {"keep_last ranks by commit over all timelines",
       "last:2",
       "1@10; 2@20; 3@30 off; 4@11 tl:2",
       {"1 gone: not among the last 2 (is #4)", "2 gone: not among the last 2 (is #3)",
        "3 kept: last 2/2", "4 kept: newest on the current timeline, last 1/2"}},
      {"a lower step on a new timeline is not evicted",
       "last:1",
       "1@500 off; 2@10 tl:2",
       {"1 gone: not among the last 1 (is #2)",
        "2 kept: newest on the current timeline, last 1/1"}},
      {"rewound and nothing committed since: both floor and last stay",
       "last:1",
       "1@10; 2@20; 3@30 off",
       {"1 gone: not among the last 1 (is #3)", "2 kept: newest on the current timeline",
        "3 kept: last 1/1"}},
      {"best ranks over all timelines",
       "best:loss:min:1",
       "1@10 loss=3; 2@20 loss=1 off; 3@12 tl:2 loss=2",
       {"1 gone: not among the best 1 by loss (is #3)", "2 kept: best loss #1",
        "3 kept: newest on the current timeline"}},
      {"nothing on the current line: the newest of the run is the floor",
       "best:loss:min:1",
       "1@10 off; 2@20 off",
       {"1 gone: has no loss to rank",
        "2 kept: newest of the run, none is on the current timeline"}},
      {"only damaged ones on the current line: a whole one elsewhere is the floor",
       "best:loss:min:1",
       "1@10 off; 2@20 damaged",
       {"1 kept: newest of the run, none is on the current timeline", "2 kept: damaged: kept until a newer commit"}},
  });
}

TEST(RetentionTable, Damaged) {
  ExpectAll({
      {"a damaged one is never the floor",
       "last:1",
       "1@10; 2@20 damaged",
       {"1 kept: newest on the current timeline, last 1/1", "2 kept: damaged: kept until a newer commit"}},
      {"damaged ones evict nobody from keep_last",
       "last:2",
       "1@10; 2@20; 3@30 damaged; 4@40 damaged",
       {"1 kept: last 2/2", "2 kept: newest on the current timeline, last 1/2",
        "3 kept: damaged: kept until a newer commit", "4 kept: damaged: kept until a newer commit"}},
      {"a damaged one goes once something whole is newer",
       "last:1",
       "1@10; 2@20 damaged; 3@30; 4@40 damaged",
       {"1 gone: not among the last 1 (is #2)", "2 gone: damaged: takes no part in the rules",
        "3 kept: newest on the current timeline, last 1/1",
        "4 kept: damaged: kept until a newer commit"}},
      {"a damaged one is never best",
       "best:loss:min:1",
       "1@10 loss=2; 2@20 loss=1 damaged; 3@30",
       {"1 kept: best loss #1", "2 gone: damaged: takes no part in the rules",
        "3 kept: newest on the current timeline"}},
      {"a damaged one holds no milestone",
       "every:100",
       "1@90; 2@100 damaged; 3@149",
       {"1 kept: every 100 steps (100)", "2 gone: damaged: takes no part in the rules",
        "3 kept: newest on the current timeline"}},
      {"a damaged one fills no bucket",
       "daily:1",
       "1@10; 2@20; 3@30 damaged",
       {"1 gone: not the newest of its day, or past the last 1",
        "2 kept: newest on the current timeline, daily 2026-11-24 (1/1)",
        "3 kept: damaged: kept until a newer commit"}},
      {"damaged but pinned, aliased, referenced or leased stays",
       "last:1",
       "1@1 damaged pin:a; 2@2 damaged alias:b; 3@3 damaged ref; 4@4 damaged lease; 5@5",
       {"1 kept: pinned: a", "2 kept: aliased: b", "3 kept: referenced by another run",
        "4 kept: leased by a reader", "5 kept: newest on the current timeline, last 1/1"}},
      {"nothing whole left: the damaged ones stay",
       "last:1",
       "1@10 damaged; 2@20 damaged",
       {"1 kept: damaged: kept, nothing whole to fall back on",
        "2 kept: damaged: kept, nothing whole to fall back on"}},
      {"nothing whole left: those of the future too",
       "within:1h",
       "1@10 damaged at:2027-01-01T00:00",
       {"1 kept: damaged: kept, nothing whole to fall back on"}},
      {"without rules damaged ones stay as well",
       "",
       "1@10 damaged; 2@20",
       {"1 kept: no rules: everything is kept",
        "2 kept: newest on the current timeline, no rules: everything is kept"}},
      {"a damaged one is not waited for",
       "best:loss:min:1",
       "1@10 damaged pending:loss at:2026-11-24T11:59; 2@20",
       {"1 gone: damaged: takes no part in the rules", "2 kept: newest on the current timeline"}},
  });
}

TEST(RetentionTable, Held) {
  ExpectAll({
      {"pinned",
       "last:1",
       "1@10 pin:release; 2@20",
       {"1 kept: pinned: release", "2 kept: newest on the current timeline, last 1/1"}},
      {"every pin is a reason of its own",
       "last:1",
       "1@10 pin:paper pin:audit; 2@20",
       {"1 kept: pinned: audit, pinned: paper",
        "2 kept: newest on the current timeline, last 1/1"}},
      {"aliased",
       "last:1",
       "1@10 alias:prod; 2@20",
       {"1 kept: aliased: prod", "2 kept: newest on the current timeline, last 1/1"}},
      {"referenced",
       "last:1",
       "1@10 ref; 2@20",
       {"1 kept: referenced by another run",
        "2 kept: newest on the current timeline, last 1/1"}},
      {"leased",
       "last:1",
       "1@10 lease; 2@20",
       {"1 kept: leased by a reader", "2 kept: newest on the current timeline, last 1/1"}},
      {"a pin takes no slot away from keep_last",
       "last:2",
       "1@10; 2@20; 3@30 pin:a",
       {"1 gone: not among the last 2 (is #3)", "2 kept: last 2/2",
        "3 kept: newest on the current timeline, last 1/2, pinned: a"}},
      {"all reasons at once",
       "last:2 best:loss:min:1",
       "1@10 loss=1 pin:a alias:b ref lease; 2@20",
       {"1 kept: last 2/2, best loss #1, pinned: a, aliased: b, "
        "referenced by another run, leased by a reader",
        "2 kept: newest on the current timeline, last 1/2"}},
  });
}

TEST(RetentionTable, LateMetrics) {
  ExpectAll({
      {"within its grace an announced metric is waited for",
       "best:loss:min:1",
       "1@10 pending:loss at:2026-11-24T11:30; 2@20 loss=1; 3@30",
       {"1 kept: awaiting metric loss until 2026-11-24T12:30:00Z", "2 kept: best loss #1",
        "3 kept: newest on the current timeline"}},
      {"what is waited for takes no slot",
       "best:loss:min:1",
       "1@10 loss=5; 2@20 loss=4; 3@30 pending:loss at:2026-11-24T11:30",
       {"1 gone: not among the best 1 by loss (is #2)", "2 kept: best loss #1",
        "3 kept: newest on the current timeline, awaiting metric loss until "
        "2026-11-24T12:30:00Z"}},
      {"past its grace it is not",
       "best:loss:min:1",
       "1@10 pending:loss at:2026-11-24T10:30; 2@20 loss=1; 3@30",
       {"1 gone: has no loss to rank (awaited until 2026-11-24T11:30:00Z)", "2 kept: best loss #1",
        "3 kept: newest on the current timeline"}},
      {"the grace ends at its very end",
       "best:loss:min:1",
       "1@10 pending:loss at:2026-11-24T11:00; 2@20",
       {"1 gone: has no loss to rank (awaited until 2026-11-24T12:00:00Z)",
        "2 kept: newest on the current timeline"}},
      {"the policy's own grace counts",
       "best:loss:min:1 grace:3h",
       "1@10 pending:loss at:2026-11-24T10:30; 2@20",
       {"1 kept: awaiting metric loss until 2026-11-24T13:30:00Z",
        "2 kept: newest on the current timeline"}},
      {"no grace, no waiting",
       "best:loss:min:1 grace:0",
       "1@10 pending:loss at:2026-11-24T11:59; 2@20",
       {"1 gone: has no loss to rank (awaited until 2026-11-24T11:59:00Z)",
        "2 kept: newest on the current timeline"}},
      {"endless grace",
       "best:loss:min:1 grace:inf",
       "1@10 pending:loss; 2@20",
       {"1 kept: awaiting metric loss until infinite-future",
        "2 kept: newest on the current timeline"}},
      {"a metric that no rule ranks by is not waited for",
       "last:1 best:loss:min:1",
       "1@10 loss=2 pending:bleu at:2026-11-24T11:59; 2@20 loss=1",
       {"1 gone: not among the last 1 (is #2), not among the best 1 by loss (is #2)",
        "2 kept: newest on the current timeline, last 1/1, best loss #1"}},
      {"what has arrived is ranked at once",
       "best:loss:min:1",
       "1@10 loss=1 pending:loss at:2026-11-24T11:30; 2@20 loss=2",
       {"1 kept: best loss #1", "2 kept: newest on the current timeline"}},
      {"what has arrived as NaN is not waited for",
       "best:loss:min:1",
       "1@10 loss=nan pending:loss at:2026-11-24T11:30; 2@20 loss=2",
       {"1 gone: loss is nan: not ranked", "2 kept: newest on the current timeline, best loss #1"}},
  });
}

TEST(Judge, NamesTheRuleOfEveryReason) {
  using Rule = ckpt::Reason::Rule;
  const auto rules_of = [](const char* policy, const char* history) {
    const auto verdicts = Judge(ParsePolicy(policy), ParseHistory(history), Noon());
    std::vector<Rule> rules;
    for (const ckpt::Reason& reason : verdicts[0].reasons) rules.push_back(reason.rule);
    return rules;
  };

  EXPECT_EQ(
      rules_of("last:1 best:loss:min:1 best:bleu:max:1 every:10 within:1h hourly:1 daily:1 "
               "weekly:1 monthly:1 yearly:1 bytes:100",
               "1@10 at:2026-11-24T11:30 loss=1 pending:bleu pin:a alias:b ref lease"),
      (std::vector<Rule>{Rule::kNewest, Rule::kLast, Rule::kBest, Rule::kEverySteps, Rule::kWithin,
                         Rule::kHourly, Rule::kDaily, Rule::kWeekly, Rule::kMonthly, Rule::kYearly,
                         Rule::kBytes, Rule::kPinned, Rule::kAliased, Rule::kReferenced,
                         Rule::kLeased, Rule::kAwaitingMetric}));
  EXPECT_EQ(rules_of("", "1@10 off; 2@20"), std::vector<Rule>{Rule::kNoRules});
  EXPECT_EQ(rules_of("daily:1", "1@10 off at:2031-01-01T00:00; 2@20"),
            std::vector<Rule>{Rule::kClock});
  EXPECT_EQ(rules_of("last:1", "1@10 damaged; 2@20"), std::vector<Rule>{Rule::kDamaged});
  EXPECT_EQ(rules_of("last:1 daily:1", "1@10; 2@20"),
            (std::vector<Rule>{Rule::kSuperseded, Rule::kSuperseded}));
}

TEST(NextChange, IsWhenTheFirstGraceEnds) {
  const auto history = ParseHistory(
      "1@10 pending:loss at:2026-11-24T11:40; 2@20 pending:loss at:2026-11-24T11:20; "
      "3@30 pending:loss at:2026-11-24T10:00; 4@40 pending:loss damaged at:2026-11-24T11:10");

  EXPECT_EQ(NextChange(ParsePolicy("best:loss:min:1"), history, Noon()), At("2026-11-24T12:20"));
  EXPECT_EQ(NextChange(ParsePolicy("best:acc:max:1"), history, Noon()), std::nullopt);
  EXPECT_EQ(NextChange(ParsePolicy("best:loss:min:1 grace:inf"), history, Noon()), std::nullopt);
}

TEST(NextChange, IsWhenTheClockHasCaughtUp) {
  const auto history = ParseHistory("1@10; 2@20 at:2026-11-25T00:00; 3@30 at:2026-11-24T18:00");

  EXPECT_EQ(NextChange(ParsePolicy("daily:3"), history, Noon()), At("2026-11-24T18:00"));
  EXPECT_EQ(NextChange(ParsePolicy("last:3"), history, Noon()), std::nullopt);
  EXPECT_EQ(NextChange(ParsePolicy("daily:3"), {}, Noon()), std::nullopt);
}

}  // namespace
}  // namespace ckptd::retention
