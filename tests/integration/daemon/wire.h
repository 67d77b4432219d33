// Calls below the client library: any bytes to any method, and requests
// written as protobuf text, so that a table of bad requests is data.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <google/protobuf/descriptor.h>
#include <grpcpp/channel.h>
#include <grpcpp/security/credentials.h>

#include "ckpt/v1/service.grpc.pb.h"
#include "proto/status.h"
#include "tests/integration/daemon/harness.h"
#include "tests/testing/programs.h"

namespace ckpt::test {

// A connection of its own; it sends messages of any size.
std::shared_ptr<grpc::Channel> RawChannel(const std::string& address,
                                          const std::shared_ptr<grpc::ChannelCredentials>&
                                              credentials = grpc::InsecureChannelCredentials());

// What came back of a call.
struct Reply {
  absl::Status status;
  std::vector<std::string> messages;
};

// Sends `messages` to the full method name `method`, of whichever kind it is,
// half-closes, and reads to the end (at most 30 s).
using Metadata = std::vector<std::pair<std::string, std::string>>;
Reply CallRaw(const std::shared_ptr<grpc::Channel>& channel, const std::string& method,
              const std::vector<std::string>& messages, const Metadata& metadata = {});

// ckpt.v1.Checkpoints: every method.
std::vector<const google::protobuf::MethodDescriptor*> Methods();
std::string FullName(const std::string& method);

// The request of `method` (its short name) from protobuf text in which `$name`
// stands for what `words` says, and "$10k" for 10240 letters.
std::string Encode(const std::string& method, std::string text,
                   const std::map<std::string, std::string>& words);

// A daemon with run "tidy" (checkpoints 1 and 2 of attempts 1 and 2; a removed
// one; an upload of attempt 2 under way), and the check that what is bad is
// refused and changes nothing.
class Refusals : public testing::Test {
 protected:
  void SetUp() override;
  // Reads the daemon's state before the rows.
  void Remember() { before_ = Picture(daemon_.address()); }
  // `status` has this code and reason, is one sentence, and nothing changed.
  void ExpectRefused(const std::string& what, const absl::Status& status, absl::StatusCode code,
                     std::string_view reason);

  ckptd::os::TempDir dir_;
  Daemon daemon_{kCkptd, dir_ / "data"};
  std::unique_ptr<Client> client_;
  std::shared_ptr<grpc::Channel> channel_;
  // $latest, $removed: checkpoint ids; $upload: the open upload.
  std::map<std::string, std::string> words_;
  Shard pending_;  // the shard of $upload: 3 chunks, none has arrived
  std::string before_;
};

inline const RunName kTidy{"default", "tidy"};

}  // namespace ckpt::test
