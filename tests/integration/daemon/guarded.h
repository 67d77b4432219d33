// A daemon that asks for tokens, with two projects that must not see each other.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "tests/integration/daemon/wire.h"

namespace ckpt::test {

// What a project has that calls can name.
struct Place {
  std::string project;
  uint64_t attempt = 0;     // the newest of run "r"
  uint64_t checkpoint = 0;  // of run "r", step 10
  std::string upload;       // of step 20: open, nothing has arrived
  std::string ticket;
  std::string token_id;  // of its read token
  Shard pending;         // of the upload: one chunk
  // $project, $run ("project: '...' run: 'r'"), $attempt, $checkpoint, $upload,
  // $ticket, $token, for Encode.
  std::map<std::string, std::string> words;
};

class Guarded;

// One row of the table of attacks: it comes to this code and reason, and the
// daemon serves on.
struct Attack {
  std::string what;  // no other row's
  absl::StatusCode code;
  std::string reason;
  std::function<absl::Status(Guarded&)> run;
};

// Public for the rows.
class Guarded : public testing::Test {
 public:
  // `flags`: of the daemon, beside those that make it ask for tokens. `tls`: of
  // all connections to it.
  explicit Guarded(std::vector<std::string> flags = {}, TlsOptions tls = {});
  void SetUp() override;

  // The token's text by "alice/read", "bob/admin", "all/write", ...
  const std::string& Token(const std::string& whose) const { return tokens_.at(whose); }
  static Metadata Bearer(const std::string& token);
  std::unique_ptr<Client> ConnectAs(const std::string& whose);
  // A raw call with the token, on `channel_`.
  Reply CallAs(const std::string& whose, const std::string& method, const std::string& text,
               const std::map<std::string, std::string>& words);

  // Every row is refused as it says, in one sentence, and after each the daemon
  // answers a good call.
  void Run(const std::vector<Attack>& attacks);
  // All that both projects have, as text.
  std::string Everything() { return Picture(daemon_.address(), Token("all/admin")); }

  const TlsOptions tls_;
  ckptd::os::TempDir dir_;
  Daemon daemon_;
  std::map<std::string, std::string> tokens_;
  std::unique_ptr<Client> admin_;  // with all/admin
  std::shared_ptr<grpc::Channel> channel_;
  Place alice_, bob_;
};

// A request of every method that is right for whoever may make it: it names what
// `words` of a Place say, and changes nothing that another row needs.
const std::map<std::string, std::string>& GoodRequests();

// The table, by subject (attacks_*.cc).
std::vector<Attack> TokenAttacks();    // no token, or what is none
std::vector<Attack> RoleAttacks();     // a role that is too low
std::vector<Attack> ProjectAttacks();  // what another project has
std::vector<Attack> NameAttacks();     // paths and the like as names and ids
std::vector<Attack> SizeAttacks();     // more than there may be
std::vector<Attack> StreamAttacks();   // out of order, again, or overtaken
std::vector<Attack> TlsAttacks();      // on a daemon with mutual TLS (pki.h)
std::vector<Attack> PlainAttacks();    // on one without

}  // namespace ckpt::test
