// What must be true of a daemon after each interruption.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "client/client.h"
#include "tests/crash/house.h"
#include "tests/crash/model.h"

namespace ckpt::crash {

// A client that gives up at the first broken line, or one that rides a restart
// out.
enum class Patience { kNone, kRestart };
// `new_id`: of calls; none: the client's own.
std::unique_ptr<Client> Connect(const std::string& address, Patience patience,
                                std::function<std::string()> new_id = nullptr);

// The run's checkpoints; nothing when there is no such run.
absl::StatusOr<std::optional<std::vector<Checkpoint>>> List(Client& client, const RunName& run);

// Everything that was acknowledged is there, and nothing else is; what had no
// answer is settled. Waits for the janitor, who may still be removing. With
// `all`, every byte of every checkpoint is compared, else of the newest.
absl::Status CheckRun(Client& client, RunModel& run, bool all);

// What is stored is what the runs need, and the packs take no more than that
// and their own headers and notes. Waits for the janitor to settle.
absl::Status CheckSpace(Client& client, const House& house, const std::vector<RunModel*>& runs);

}  // namespace ckpt::crash
