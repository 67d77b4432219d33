#include "tests/crash/scenario.h"

#include <fmt/format.h>

#include "client/staging.h"
#include "client/upload.h"
#include "tests/crash/checks.h"

namespace ckpt::crash {
namespace {

using Kind = Change::Kind;

constexpr int kSteps = 5;

}  // namespace

Scenario::Scenario(uint64_t seed) : run_({"default", "scenario"}, 1, true) {
  Random random(seed);
  for (int step = 0; step < kSteps; ++step) {
    shards_.push_back(RandomShard(random, shards_.empty() ? nullptr : shards_.back().get()));
  }
}

absl::Status Scenario::Make(const Change& change, const absl::Status& made) {
  if (made.ok()) {
    run_.Apply(change);
  } else {
    run_.LeaveOpen(change);
  }
  return made;
}

absl::Status Scenario::Push(Client& client, uint64_t step) {
  const Shard& shard = *shards_[step % kSteps];
  Staging staging;
  RETURN_IF_ERROR(Fill(shard.parts, staging));
  Change change{.kind = Kind::kCommit};
  change.commit = {.attempt = run_.attempt,
                   .step = step,
                   .shards = {shards_[step % kSteps]},
                   .loss = static_cast<double>(step % 3)};
  run_.unfinished.push_back(change.commit);
  const auto pushed = ckpt::Push(client, {.offer = {.run = run_.name,
                                                    .attempt = run_.attempt,
                                                    .step = step,
                                                    .manifest = &shard.manifest,
                                                    .metrics = {{"loss", *change.commit.loss}}},
                                          .source = staging.bytes()});
  if (pushed.ok()) change.commit.id = pushed->checkpoint->id;
  return Make(change, pushed.status());
}

absl::Status Scenario::Play(Client& client) {
  const auto opened = client.OpenAttempt(run_.name, fmt::format("launch-{}", ++run_.launches), 1,
                                         run_.policy());
  RETURN_IF_ERROR(Make({.kind = Kind::kOpenRun}, opened.status()));
  run_.attempt = run_.newest_attempt = opened->attempt.number;
  const uint64_t first = run_.last_step + 1;
  for (uint64_t step = first; step < first + kSteps; ++step) {
    run_.last_step = step;
    RETURN_IF_ERROR(Push(client, step));
    const uint64_t newest = run_.kept.rbegin()->first;
    if (step % kSteps == 1) {
      RETURN_IF_ERROR(Make({.kind = Kind::kPin, .id = newest, .name = "pinned"},
                           client.Pin(run_.name, newest, "pinned").status()));
    }
    if (step % kSteps == 2) {
      RETURN_IF_ERROR(Make({.kind = Kind::kAlias, .id = newest, .name = "named"},
                           client.SetAlias(run_.name, "named", newest).status()));
    }
  }
  for (const auto& [id, known] : run_.kept) {
    if (known.pins.empty()) continue;
    const Change unpin{.kind = Kind::kUnpin, .id = id, .name = "pinned"};
    RETURN_IF_ERROR(Make(unpin, client.Unpin(run_.name, id, "pinned").status()));
    break;
  }
  RETURN_IF_ERROR(Make({}, client.Prune(run_.name).status()));
  const uint64_t newest = run_.kept.rbegin()->first;
  for (const auto& [id, known] : run_.kept) {
    if (id == newest || !known.pins.empty() || !known.aliases.empty()) continue;
    RETURN_IF_ERROR(Make({.kind = Kind::kDelete, .id = id},
                         client.DeleteCheckpoints(run_.name, {id}).status()));
    break;
  }
  return absl::OkStatus();
}

void Scenario::Check(House& house) {
  const std::unique_ptr<Client> client = Connect(house.address(), Patience::kRestart);
  const auto look = [&] {
    EXPECT_EQ(CheckRun(*client, run_, /*all=*/true), absl::OkStatus());
    EXPECT_EQ(CheckSpace(*client, house, {&run_}), absl::OkStatus());
  };
  look();
  EXPECT_EQ(Play(*client), absl::OkStatus()) << "it does not go on";
  look();
}

}  // namespace ckpt::crash
