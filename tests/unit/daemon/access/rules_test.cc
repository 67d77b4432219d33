// The table of calls against the service as it is written down.
#include <map>
#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ckpt/v1/service.pb.h"
#include "daemon/access/rules.h"

namespace ckptd {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;

std::map<std::string, const Descriptor*> Requests() {
  ckpt::v1::PinRequest::descriptor();  // links the file in
  const auto* service =
      google::protobuf::DescriptorPool::generated_pool()->FindServiceByName("ckpt.v1.Checkpoints");
  std::map<std::string, const Descriptor*> requests;
  for (int i = 0; i < service->method_count(); ++i) {
    requests[service->method(i)->name()] = service->method(i)->input_type();
  }
  return requests;
}

// The fields that each way to name projects reads.
const std::map<Names, std::set<std::string>> kFields = {
    {Names::kNothing, {}},
    {Names::kRun, {"run"}},
    {Names::kRunAndSource, {"run", "from_run"}},
    {Names::kRunOrNothing, {"run"}},
    {Names::kRunOrDaemon, {"run"}},
    {Names::kRunOrProject, {"run", "project"}},
    {Names::kProject, {"project"}},
    {Names::kProjectOrOwn, {"project"}},
    {Names::kProjectOrDaemon, {"project", "all_projects"}},
    {Names::kCheckpoint, {"checkpoint_id"}},
    {Names::kCheckpointOrRun, {"checkpoint_id", "run"}},
    {Names::kUpload, {"upload_id"}},
    {Names::kTicket, {"ticket_id"}},
    {Names::kToken, {"token_id"}},
};

// What the store looks up only inside the run that the request names.
bool IsInsideRun(const Descriptor& request, const std::string& field) {
  return request.FindFieldByName("run") != nullptr &&
         (field == "checkpoint_id" || field == "checkpoint_ids");
}

TEST(Rules, EveryCallHasOneAndEveryRuleHasACall) {
  const auto requests = Requests();
  std::set<std::string> ruled;
  for (const Rule& rule : Rules()) {
    EXPECT_TRUE(requests.contains(std::string(rule.method))) << rule.method;
    EXPECT_TRUE(ruled.insert(std::string(rule.method)).second) << rule.method << " is there twice";
    EXPECT_NE(rule.role, ckpt::Role::kNone) << rule.method;
  }
  for (const auto& [method, request] : requests) {
    EXPECT_TRUE(ruled.contains(method)) << method << " has no rule";
    EXPECT_NE(FindRule(method), nullptr) << method;
  }
  EXPECT_EQ(FindRule("Format"), nullptr);
  EXPECT_EQ(FindRule(""), nullptr);
}

TEST(Rules, ReadTheFieldsThatTheRequestsHave) {
  const auto requests = Requests();
  for (const Rule& rule : Rules()) {
    SCOPED_TRACE(rule.method);
    const Descriptor& request = *requests.at(std::string(rule.method));
    for (const std::string& name : kFields.at(rule.names)) {
      const FieldDescriptor* field = request.FindFieldByName(name);
      ASSERT_NE(field, nullptr) << name;
      if (name.ends_with("run")) {
        EXPECT_EQ(field->message_type()->full_name(), "ckpt.v1.RunRef") << name;
      }
    }
  }
}

TEST(Rules, OverlookNoFieldThatNamesSomething) {
  const std::set<std::string> words = {"project",   "run",       "checkpoint_id", "checkpoint_ids",
                                       "upload_id", "ticket_id", "token_id"};
  const auto requests = Requests();
  for (const Rule& rule : Rules()) {
    SCOPED_TRACE(rule.method);
    const Descriptor& request = *requests.at(std::string(rule.method));
    for (int i = 0; i < request.field_count(); ++i) {
      const FieldDescriptor& field = *request.field(i);
      const bool is_run = field.cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE &&
                          field.message_type()->full_name() == "ckpt.v1.RunRef";
      if (!is_run && !words.contains(field.name())) continue;
      EXPECT_TRUE(kFields.at(rule.names).contains(field.name()) ||
                  IsInsideRun(request, field.name()))
          << field.name() << " is not looked at";
    }
  }
}

TEST(Rules, NothingThatRemovesIsAWritersAndNothingThatChangesAReaders) {
  for (const char* method : {"DeleteRun", "DeleteCheckpoints", "SetPolicy", "SetBudget", "Prune",
                             "Unpin", "CreateToken", "RevokeToken", "ListTokens", "SetQuota"}) {
    EXPECT_EQ(FindRule(method)->role, ckpt::Role::kAdmin) << method;
  }
  for (const Rule& rule : Rules()) {
    if (rule.method == "ListTokens") continue;  // who may call is an admin's to know
    const bool looks = rule.method.starts_with("Get") || rule.method.starts_with("List") ||
                       rule.method == "Resolve" || rule.method == "FetchChunks" ||
                       rule.method == "Verify";
    EXPECT_EQ(rule.role == ckpt::Role::kRead, looks) << rule.method;
  }
}

TEST(Rules, WhatRemovesDecidesOrGrantsIsWrittenDown) {
  for (const Rule& rule : Rules()) {
    EXPECT_EQ(rule.audited, rule.method == "Rewind" || rule.method == "RestoreCheckpoint" ||
                                rule.method == "DeleteAlias" ||
                                (rule.role == ckpt::Role::kAdmin && rule.method != "ListTokens"))
        << rule.method;
  }
}

}  // namespace
}  // namespace ckptd
