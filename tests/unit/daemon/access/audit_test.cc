// The audit log as a file.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "ckpt/v1/service.pb.h"
#include "daemon/access/audit.h"
#include "tests/testing/fake_clock.h"
#include "tests/testing/process.h"
#include "tests/testing/temp_dir.h"

namespace ckptd {
namespace {

namespace v1 = ckpt::v1;

class AuditTest : public testing::Test {
 protected:
  void SetUp() override { Open(path_); }
  void Open(const std::string& path) {
    auto audit = Audit::Open(path, &clock_);
    ASSERT_TRUE(audit.ok()) << audit.status();
    audit_ = *std::move(audit);
  }
  std::vector<nlohmann::json> Lines() {
    std::istringstream in(ckpt::test::ReadFile(path_));
    std::vector<nlohmann::json> lines;
    for (std::string line; std::getline(in, line);) lines.push_back(nlohmann::json::parse(line));
    return lines;
  }
  static AuditEntry Entry(const std::string& method, absl::Status outcome = {}) {
    AuditEntry entry;
    entry.method = method;
    entry.peer = "ipv4:10.0.0.7:4242";
    entry.outcome = std::move(outcome);
    return entry;
  }

  os::TempDir dir_;
  const std::string path_ = dir_ / "audit.log";
  os::FakeClock clock_;
  std::unique_ptr<Audit> audit_;
};

TEST_F(AuditTest, ALineSaysWhoDidWhatToWhatAndWhatCameOfIt) {
  Caller caller;
  caller.token_id = "0123456789abcdef";
  caller.token_name = "lead";
  v1::DeleteCheckpointsRequest request;
  request.mutable_run()->set_project("vision");
  request.mutable_run()->set_run("gpt");
  request.add_checkpoint_ids(7);
  request.add_checkpoint_ids(9);
  AuditEntry entry = Entry("DeleteCheckpoints");
  entry.peer_identity = "gpu-1";
  entry.caller = &caller;
  entry.request = &request;
  audit_->Record(entry);
  const auto lines = Lines();
  ASSERT_EQ(lines.size(), 1u);
  EXPECT_EQ(lines[0], nlohmann::json({{"time", "2026-01-01T00:00:00.000Z"},
                                      {"method", "DeleteCheckpoints"},
                                      {"outcome", "OK"},
                                      {"peer", "ipv4:10.0.0.7:4242"},
                                      {"certificate", "gpu-1"},
                                      {"token_id_of_caller", "0123456789abcdef"},
                                      {"token_name_of_caller", "lead"},
                                      {"project", "vision"},
                                      {"run", "gpt"},
                                      {"checkpoint_ids", {7, 9}}}));
}

TEST_F(AuditTest, WhatRequestsNameIsReadOutOfAllKindsOfThem) {
  v1::ResumeRequest resume;
  resume.mutable_run()->set_run("a");
  resume.mutable_from_run()->set_project("other");
  v1::CreateTokenRequest create;
  create.set_all_projects(true);
  create.set_role(v1::ROLE_ADMIN);
  create.set_name("n");
  v1::CommitShardRequest commit;
  commit.set_upload_id("u7");
  v1::RevokeTokenRequest revoke;
  revoke.set_token_id("abc");
  for (const google::protobuf::Message* request :
       std::vector<const google::protobuf::Message*>{&resume, &create, &commit, &revoke}) {
    AuditEntry entry = Entry("X", absl::NotFoundError("x"));
    entry.request = request;
    entry.made = "made-id";
    audit_->Record(entry);
  }
  const auto lines = Lines();
  ASSERT_EQ(lines.size(), 4u);
  EXPECT_EQ(lines[0]["run"], "a");
  EXPECT_EQ(lines[0]["from_project"], "other");
  EXPECT_EQ(lines[1]["role"], "admin");
  EXPECT_EQ(lines[1]["all_projects"], true);
  EXPECT_EQ(lines[1]["name"], "n");
  EXPECT_EQ(lines[1]["made"], "made-id");
  EXPECT_EQ(lines[2]["upload_id"], "u7");
  EXPECT_EQ(lines[3]["token_id"], "abc");
}

TEST_F(AuditTest, WhatWasSentCannotForgeALineOrFloodOne) {
  v1::GetRunRequest request;
  request.mutable_run()->set_run("a\n{\"outcome\":\"OK\"}\x1b[2J\xff");
  request.mutable_run()->set_project(std::string(1 << 20, 'p'));
  AuditEntry entry = Entry("GetRun", absl::NotFoundError("x"));
  entry.request = &request;
  audit_->RecordRefusal(entry);
  EXPECT_EQ(Lines().size(), 1u);
  EXPECT_LT(ckpt::test::ReadFile(path_).size(), 1000u);
}

TEST_F(AuditTest, RefusalsCannotFloodTheLogAndAreCounted) {
  const AuditEntry refused = Entry("GetRun", absl::UnauthenticatedError("x"));
  for (int i = 0; i < 2000; ++i) audit_->RecordRefusal(refused);
  EXPECT_EQ(Lines().size(), 600u);
  audit_->Record(Entry("DeleteRun"));  // what was done is written in any case
  EXPECT_EQ(Lines().size(), 601u);
  clock_.Advance(absl::Minutes(11));
  audit_->RecordRefusal(refused);
  const auto lines = Lines();
  ASSERT_EQ(lines.size(), 602u);
  EXPECT_EQ(lines.back()["refusals_left_out_before"], 1400);
}

TEST_F(AuditTest, GoesOnWhereItWas) {
  audit_->Record(Entry("A"));
  Open(path_);
  audit_->Record(Entry("B"));
  ASSERT_EQ(Lines().size(), 2u);
  EXPECT_EQ(Lines()[1]["method"], "B");
}

TEST_F(AuditTest, NoneOrOneThatCannotBe) {
  Open("");
  audit_->Record(Entry("A"));
  audit_->RecordRefusal(Entry("B"));
  EXPECT_TRUE(Lines().empty());
  const absl::Status status = Audit::Open(dir_.path(), &clock_).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
}

}  // namespace
}  // namespace ckptd
