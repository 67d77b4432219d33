#include "client/ckptctl/table.h"

#include <gtest/gtest.h>

#include "client/ckptctl/progress.h"

namespace ckpt::ctl {
namespace {

TEST(Table, AlignsColumnsAndLeavesNoTrailingSpaces) {
  Table table({{"RUN"}, {"STEP", Table::Align::kRight}, {"WHY"}});
  table.Add({"gpt", "1000", "last 1/3"});
  table.Add({"a-longer-name", "5", ""});
  EXPECT_EQ(table.ToString(),
            "RUN            STEP  WHY\n"
            "gpt            1000  last 1/3\n"
            "a-longer-name     5\n");
}

TEST(Table, CountsCharactersNotBytes) {
  Table table({{"A"}, {"B"}});
  table.Add({"é", "x"});
  table.Add({"ee", "y"});
  EXPECT_EQ(table.ToString(), "A   B\né   x\nee  y\n");
}

TEST(Table, CellsCannotMoveTheCursor) {
  Table table({{"A"}});
  table.Add({"x\n\x1b[2Jy"});
  EXPECT_EQ(table.ToString(), "A\nx\\x0a\\x1b[2Jy\n");
}

TEST(Table, ShortRowsHaveEmptyCells) {
  Table table({{"A"}, {"B"}});
  table.Add({"x"});
  EXPECT_EQ(table.ToString(), "A  B\nx\n");
}

TEST(Fields, AlignsValues) {
  Fields fields;
  fields.Add("Run", "gpt");
  fields.Add("Checkpoints", "3");
  EXPECT_EQ(fields.ToString(), "Run:          gpt\nCheckpoints:  3\n");
}

TEST(ProgressLine, SaysHowMuchHowFastAndHowLong) {
  const std::string line =
      ProgressLine("fetch", 1u << 30, 4ull << 30, absl::Seconds(2), /*width=*/100);
  EXPECT_NE(line.find(" 25%  1.0 GiB / 4.0 GiB  512.0 MiB/s  ETA 6s"), std::string::npos) << line;
  EXPECT_NE(line.find("[#######"), std::string::npos) << line;
  EXPECT_LE(line.size(), 100u);
}

TEST(ProgressLine, WorksWithoutTotalsOrRoom) {
  EXPECT_NE(ProgressLine("x", 0, 0, absl::ZeroDuration(), 80).find("100%"), std::string::npos);
  EXPECT_EQ(ProgressLine("x", 0, 10, absl::ZeroDuration(), 20).find('['), std::string::npos);
}

}  // namespace
}  // namespace ckpt::ctl
