// What the daemon writes down of who did what.
#include <sstream>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "daemon/access/rules.h"
#include "tests/integration/daemon/guarded.h"

namespace ckpt::test {
namespace {

class AuditLog : public Guarded {
 protected:
  std::string Text() { return ReadFile(daemon_.data_dir() + "/audit.log"); }
  // Since the call before.
  std::vector<nlohmann::json> News() {
    std::istringstream in(Text().substr(read_));
    read_ = Text().size();
    std::vector<nlohmann::json> lines;
    for (std::string line; std::getline(in, line);) lines.push_back(nlohmann::json::parse(line));
    return lines;
  }

 private:
  size_t read_ = 0;
};

TEST_F(AuditLog, HoldsWhatRemovesDecidesOrGrants) {
  News();
  for (const auto& [method, request] : GoodRequests()) {
    SCOPED_TRACE(method);
    std::string text = request;
    if (const size_t dry = text.find(" dry_run: true"); dry != std::string::npos) {
      // A preview does nothing that would be worth a line.
      CallAs("all/admin", method, text, alice_.words);
      EXPECT_TRUE(News().empty());
      text.erase(dry);
    }
    const Reply reply = CallAs("all/admin", method, text, alice_.words);
    const auto lines = News();
    if (!ckptd::FindRule(method)->audited) {
      EXPECT_TRUE(lines.empty());
      continue;
    }
    ASSERT_EQ(lines.size(), 1u);
    EXPECT_EQ(lines[0]["method"], method);
    EXPECT_EQ(lines[0]["outcome"], reply.status.ok() ? "OK" : ReasonOf(reply.status));
    EXPECT_EQ(lines[0]["token_id_of_caller"], Token("all/admin").substr(5, 16));
    EXPECT_EQ(lines[0]["token_name_of_caller"], "admin");
    EXPECT_TRUE(lines[0]["peer"].get<std::string>().starts_with("ipv4:127.0.0.1:"));
    EXPECT_EQ(lines[0].contains("made"), method == "CreateToken");
    if (method == "RevokeToken") {
      EXPECT_EQ(lines[0]["token_id"], alice_.token_id);
    } else if (method != "StartScrub" && method != "BackUpCatalog") {  // about the daemon
      EXPECT_EQ(lines[0]["project"], "alice");
    }
  }
}

TEST_F(AuditLog, HoldsWhoWasRefusedWithTheirReason) {
  News();
  const std::vector<Attack> attacks = ProjectAttacks();
  for (const Attack& attack : attacks) {
    SCOPED_TRACE(attack.what);
    const absl::Status status = attack.run(*this);
    const auto lines = News();
    bool found = false;
    for (const auto& line : lines) found |= line["outcome"] == ReasonOf(status);
    // Inside an own run the guard need not know of bob's.
    const bool inside = attack.what.find("under an own name") != std::string::npos ||
                        attack.what.find("by selector") != std::string::npos ||
                        attack.what.find("beside an own one") != std::string::npos ||
                        attack.what.find("not sent") != std::string::npos;
    EXPECT_TRUE(found || inside);
  }
  for (const Attack& attack : RoleAttacks()) {
    SCOPED_TRACE(attack.what);
    EXPECT_FALSE(attack.run(*this).ok());
    const auto lines = News();
    ASSERT_EQ(lines.size(), 1u);
    EXPECT_EQ(lines[0]["outcome"], reason::kRoleTooLow);
    EXPECT_TRUE(lines[0].contains("token_id_of_caller"));
  }
  CallRaw(channel_, FullName("GetRun"), {""});
  const auto lines = News();
  ASSERT_EQ(lines.size(), 1u);
  EXPECT_EQ(lines[0]["outcome"], reason::kTokenMissing);
  EXPECT_FALSE(lines[0].contains("token_id_of_caller"));
}

}  // namespace
}  // namespace ckpt::test
