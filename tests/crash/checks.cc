#include "tests/crash/checks.h"

#include <map>

#include <fmt/format.h>

namespace ckpt::crash {
namespace {

// A pack's header and note, and a block in which the file system keeps the
// extents of a file with holes: a block each, and one to spare.
constexpr uint64_t kPackOverhead = 4 * 4096;
constexpr absl::Duration kSettleTime = absl::Seconds(60);

// Calls `check` until it is OK; its last status after kSettleTime.
template <typename Check>
absl::Status Eventually(Check check) {
  const absl::Time end = absl::Now() + kSettleTime;
  while (true) {
    absl::Status status = check();
    if (status.ok() || absl::Now() > end) return status;
    absl::SleepFor(absl::Milliseconds(5));
  }
}

}  // namespace

std::unique_ptr<Client> Connect(const std::string& address, Patience patience,
                                std::function<std::string()> new_id) {
  ClientOptions options{.address = address};
  options.world.new_id = std::move(new_id);
  options.retry.initial_backoff = absl::Milliseconds(10);
  options.retry.max_backoff = absl::Milliseconds(50);
  options.retry.window = patience == Patience::kNone ? absl::ZeroDuration() : absl::Seconds(60);
  auto client = Client::Connect(std::move(options));
  EXPECT_TRUE(client.ok()) << client.status();
  return client.ok() ? *std::move(client) : nullptr;
}

absl::StatusOr<std::optional<std::vector<Checkpoint>>> List(Client& client, const RunName& run) {
  auto listed = client.ListCheckpoints(run);
  if (HasReason(listed.status(), reason::kRunNotFound)) return std::nullopt;
  if (!listed.ok()) return listed.status();
  return *std::move(listed);
}

absl::Status CheckRun(Client& client, RunModel& run, bool all) {
  if (run.launches == 0) return absl::OkStatus();  // nobody has used it yet
  {
    ASSIGN_OR_RETURN(const auto listed, List(client, run.name));
    run.Settle(listed);
  }
  RETURN_IF_ERROR(Eventually([&]() -> absl::Status {
    ASSIGN_OR_RETURN(const auto listed, List(client, run.name));
    const std::string difference = run.Difference(listed);
    return difference.empty() ? absl::OkStatus() : absl::DataLossError(difference);
  }));
  if (run.kept.empty()) return absl::OkStatus();
  const uint64_t newest = run.kept.rbegin()->first;
  ASSIGN_OR_RETURN(const Resolved latest, client.Resolve(run.name, SelectLatest{}));
  if (latest.checkpoint.id != newest) {
    return absl::DataLossError(fmt::format("{}: latest is checkpoint {}, not {}",
                                           run.name.ToString(), latest.checkpoint.id, newest));
  }
  for (const auto& [id, known] : run.kept) {
    if (!all && id != newest) continue;
    for (uint32_t rank = 0; rank < known.shards.size(); ++rank) {
      RETURN_IF_ERROR(CheckContents(client, id, rank, *known.shards[rank]));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckSpace(Client& client, const House& house, const std::vector<RunModel*>& runs) {
  std::map<std::string, std::vector<const RunModel*>> projects;
  for (const RunModel* run : runs) projects[run->name.project].push_back(run);
  Bounds bounds;
  for (const auto& [name, of_project] : projects) {
    const Bounds more = StoredBytes(of_project);
    bounds.least += more.least;
    bounds.most += more.most;
  }
  return Eventually([&]() -> absl::Status {
    ASSIGN_OR_RETURN(const Stats stats, client.GetStats());
    const House::Packs packs = house.MeasurePacks();
    const std::string seen = fmt::format(
        "needed {} to {} bytes; stored {}, reclaimable {}, {} open uploads; {} packs take {} on "
        "disk, by the daemon's books {}",
        bounds.least, bounds.most, stats.stored_bytes, stats.reclaimable_bytes, stats.open_uploads,
        packs.files, packs.bytes, stats.disk_bytes);
    // History may lie on disk in fewer bytes, but not in fewer than what differs.
    if (stats.stored_bytes < bounds.least / 4) return absl::DataLossError("bytes are missing: " + seen);
    const uint64_t overhead = packs.files * kPackOverhead;
    const bool settled = stats.reclaimable_bytes == 0 && stats.stored_bytes <= bounds.most;
    // What an upload has written is stored only when it is durable.
    if (!settled || packs.bytes > bounds.most + overhead || packs.bytes < stats.stored_bytes) {
      return absl::ResourceExhaustedError("space is leaked: " + seen);
    }
    if (stats.disk_bytes > packs.bytes + overhead || packs.bytes > stats.disk_bytes + overhead) {
      return absl::InternalError("the books of space are wrong: " + seen);
    }
    return absl::OkStatus();
  });
}

}  // namespace ckpt::crash
