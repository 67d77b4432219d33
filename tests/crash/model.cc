#include "tests/crash/model.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <unordered_set>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "daemon/chunks/layout.h"

namespace ckpt::crash {
namespace {

constexpr uint32_t kKeepLast = 2;
constexpr char kLoss[] = "loss";

using Kind = Change::Kind;

const Checkpoint* Find(const std::vector<Checkpoint>& listed, uint64_t id) {
  const auto it = std::ranges::find(listed, id, &Checkpoint::id);
  return it == listed.end() ? nullptr : &*it;
}

std::optional<uint64_t> LossBits(const std::optional<double>& loss) {
  return loss ? std::optional(std::bit_cast<uint64_t>(*loss)) : std::nullopt;
}
std::optional<double> LossOf(const Checkpoint& checkpoint) {
  const auto it = checkpoint.metrics.find(kLoss);
  return it == checkpoint.metrics.end() ? std::nullopt : std::optional(it->second);
}

uint64_t BytesOf(const Known& known) {
  uint64_t bytes = 0;
  for (const auto& shard : known.shards) bytes += shard->manifest.bytes();
  return bytes;
}

std::string CheckpointDifference(const Known& known, const Checkpoint& listed) {
  std::string text;
  const auto differ = [&](bool alike, const char* what) {
    if (!alike) text += fmt::format("checkpoint {} (step {}): {}\n", known.id, known.step, what);
  };
  differ(listed.step == known.step, "another step");
  differ(listed.attempt == known.attempt, "another attempt");
  differ(listed.world_size == known.shards.size(), "another world size");
  differ(listed.bytes == BytesOf(known), "other bytes");
  differ(listed.damage.empty(), listed.damage.c_str());
  differ(listed.pins == known.pins, "other pins");
  differ(listed.aliases == known.aliases, "other aliases");
  differ(LossBits(LossOf(listed)) == LossBits(known.loss), "another loss");
  return text;
}

}  // namespace

Policy RunModel::policy() const {
  Policy policy;
  policy.keep_last = kKeepLast;
  if (ranks_) policy.keep_best = {{.metric = kLoss, .mode = MetricMode::kMin, .count = 1}};
  // A restart of the job says nothing about a checkpoint here: we make many.
  policy.max_failed_resumes = 1'000'000;
  return policy;
}

void RunModel::Apply(const Change& change) {
  switch (change.kind) {
    case Kind::kNothing:
      return;
    case Kind::kOpenRun:
      exists = true;
      return;
    case Kind::kCommit:
      kept[change.commit.id] = change.commit;
      std::erase_if(unfinished, [&](const Known& other) {
        return other.step == change.commit.step || other.attempt < change.commit.attempt;
      });
      break;
    case Kind::kDelete:
      kept.erase(change.id);
      break;
    case Kind::kDeleteRun:
      kept.clear();
      unfinished.clear();
      exists = false;
      attempt = 0;
      break;
    case Kind::kPin:
      kept.at(change.id).pins.insert(change.name);
      break;
    case Kind::kUnpin:
      kept.at(change.id).pins.erase(change.name);
      break;
    case Kind::kAlias:
      for (auto& [id, known] : kept) known.aliases.erase(change.name);
      kept.at(change.id).aliases.insert(change.name);
      break;
    case Kind::kUnalias:
      for (auto& [id, known] : kept) known.aliases.erase(change.name);
      break;
    case Kind::kLoss:
      kept.at(change.id).loss = change.loss;
      break;
  }
  Judge();
}

void RunModel::Judge() {
  std::set<uint64_t> stay;
  uint32_t last = 0;
  for (auto it = kept.rbegin(); it != kept.rend() && last < kKeepLast; ++it, ++last) {
    stay.insert(it->first);
  }
  const Known* best = nullptr;
  for (const auto& [id, known] : kept) {
    if (!known.pins.empty() || !known.aliases.empty()) stay.insert(id);
    if (!ranks_ || !known.loss || !std::isfinite(*known.loss)) continue;
    if (best == nullptr || *known.loss < *best->loss) best = &known;  // a tie: the incumbent
  }
  if (best != nullptr) stay.insert(best->id);
  std::erase_if(kept, [&](const auto& known) { return !stay.contains(known.first); });
}

bool RunModel::Happened(const Change& change,
                        const std::optional<std::vector<Checkpoint>>& listed) const {
  if (change.kind == Kind::kDeleteRun) return !listed.has_value();
  if (change.kind == Kind::kOpenRun) return listed.has_value();
  if (!listed || change.kind == Kind::kNothing) return false;
  const Checkpoint* found = Find(*listed, change.id);
  switch (change.kind) {
    case Kind::kPin:
      return found != nullptr && found->pins.contains(change.name);
    case Kind::kAlias:
      return found != nullptr && found->aliases.contains(change.name);
    case Kind::kUnpin:  // retention may have taken it, freed of the pin
      return found == nullptr || !found->pins.contains(change.name);
    case Kind::kUnalias:
      return std::ranges::none_of(
          *listed, [&](const Checkpoint& c) { return c.aliases.contains(change.name); });
    case Kind::kLoss:
      return found == nullptr || LossBits(LossOf(*found)) == LossBits(change.loss);
    case Kind::kDelete:
      return found == nullptr;
    default:
      return false;
  }
}

void RunModel::Settle(const std::optional<std::vector<Checkpoint>>& listed) {
  if (!open_) return;
  Change change = *std::exchange(open_, std::nullopt);
  happened_ = false;
  if (change.kind == Kind::kCommit) {
    if (!listed) return;
    const auto found = std::ranges::find(*listed, change.commit.step, &Checkpoint::step);
    if (found == listed->end()) return;
    change.commit.id = found->id;
    if (again) again->id = found->id;  // the next try has to be told the same
    happened_ = true;
  } else {
    happened_ = Happened(change, listed);
  }
  if (happened_) Apply(change);
}

std::string RunModel::Difference(const std::optional<std::vector<Checkpoint>>& listed) const {
  if (listed.has_value() != exists) {
    return fmt::format("run {} {}\n", name.ToString(),
                       exists ? "is gone" : "is there, though it was deleted");
  }
  std::string text;
  if (!listed) return text;
  for (const auto& [id, known] : kept) {
    const Checkpoint* found = Find(*listed, id);
    text += found != nullptr
                ? CheckpointDifference(known, *found)
                : fmt::format("checkpoint {} (step {}) is not listed\n", id, known.step);
  }
  for (const Checkpoint& checkpoint : *listed) {
    if (checkpoint.timeline != listed->front().timeline) {
      text += fmt::format("checkpoint {} is on a timeline of its own\n", checkpoint.id);
    }
    if (kept.contains(checkpoint.id)) continue;
    text += fmt::format("checkpoint {} (step {}) is listed, though it was {}\n", checkpoint.id,
                        checkpoint.step, "never acknowledged, or removed");
  }
  return text.empty() ? text : fmt::format("run {}:\n{}", name.ToString(), text);
}

Bounds StoredBytes(const std::vector<const RunModel*>& runs) {
  using Seen = std::unordered_set<Digest>;
  // Bytes of the shard's chunks that were not seen before.
  const auto add = [](const Shard& shard, Seen& seen) {
    uint64_t bytes = 0;
    for (const Chunk& chunk : shard.manifest.chunks) {
      if (seen.insert(chunk.digest).second) bytes += ckptd::RecordExtent(chunk.length);
    }
    return bytes;
  };
  Bounds bounds;
  Seen kept;
  for (const RunModel* run : runs) {
    for (const auto& [id, known] : run->kept) {
      for (const auto& shard : known.shards) bounds.least += add(*shard, kept);
    }
  }
  bounds.most = bounds.least;
  for (const RunModel* run : runs) {
    for (const Known& known : run->unfinished) {
      // Once each: what was not there when it was offered may have come since.
      for (const auto& shard : known.shards) {
        Seen of_shard;
        bounds.most += add(*shard, of_shard);
      }
    }
  }
  return bounds;
}

}  // namespace ckpt::crash
