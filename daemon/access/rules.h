// Which role each call needs, and what in its request says whose it is. The one
// table of it: a call that is not in it is refused.
#pragma once

#include <span>
#include <string_view>

#include "proto/model.h"

namespace ckptd {

// Where a request names projects. An id stands for the project of what it names.
enum class Names : uint8_t {
  kNothing,          // nothing: the call is about the daemon
  kRun,              // run
  kRunAndSource,     // run; from_run, when it is there
  kRunOrNothing,     // run; without it the call is about no project
  kRunOrDaemon,      // run; without it the call is about all projects
  kRunOrProject,     // run, else project
  kProject,          // project
  kProjectOrOwn,     // project; without it the call answers for what the token is for
  kProjectOrDaemon,  // project, or all_projects
  kCheckpoint,       // checkpoint_id
  kCheckpointOrRun,  // checkpoint_id, else run
  kUpload,           // upload_id
  kTicket,           // ticket_id
  kToken,            // token_id
};

struct Rule {
  std::string_view method;  // "Unpin"
  ckpt::Role role = ckpt::Role::kAdmin;
  Names names = Names::kRun;
  bool for_all = false;  // only with a token for all projects
  bool audited = false;  // who made it is written down
};

std::span<const Rule> Rules();
// nullptr: no such call.
const Rule* FindRule(std::string_view method);

}  // namespace ckptd
