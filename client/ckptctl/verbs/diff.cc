#include <cstring>
#include <map>
#include <set>

#include "client/ckptctl/exit_codes.h"
#include "client/ckptctl/json.h"
#include "client/ckptctl/numbers.h"
#include "client/ckptctl/progress.h"
#include "client/ckptctl/show.h"
#include "client/ckptctl/table.h"
#include "client/ckptctl/units.h"
#include "client/ckptctl/verbs/verbs.h"
#include "client/download.h"
#include "proto/chunking.h"
#include "proto/limits.h"

namespace ckpt::ctl {
namespace {

struct Options {
  std::string before, after;
  uint32_t rank = 0;
  bool quick = false;
  bool exit_code = false;
};

// So much of an entry is held of each side at a time. A multiple of every
// element's size.
constexpr uint64_t kPieceBytes = 8 * uint64_t{kMaxChunkBytes};

struct Side {
  Checkpoint checkpoint;
  Manifest manifest;
  std::vector<uint64_t> chunk_offsets;
};

struct Change {
  enum class Kind { kAdded, kGone, kChanged };
  Kind kind = Kind::kChanged;
  const Entry* before = nullptr;
  const Entry* after = nullptr;
  std::optional<Distance> distance;
};

bool SameForm(const Entry& a, const Entry& b) {
  return a.dtype == b.dtype && a.shape == b.shape && a.length == b.length;
}

// True when the digests prove that both have the same bytes. False proves
// nothing for entries that share their chunks with others.
bool SameChunks(const Side& a, const Entry& x, const Side& b, const Entry& y) {
  if (x.length != y.length) return false;
  if (x.length == 0) return true;
  const ChunkSpan p = ChunksOf(a.chunk_offsets, x.offset, x.offset + x.length);
  const ChunkSpan q = ChunksOf(b.chunk_offsets, y.offset, y.offset + y.length);
  if (p.last - p.first != q.last - q.first) return false;
  if (x.offset - a.chunk_offsets[p.first] != y.offset - b.chunk_offsets[q.first]) return false;
  for (uint32_t i = 0; i < p.last - p.first; ++i) {
    if (a.manifest.chunks[p.first + i] != b.manifest.chunks[q.first + i]) return false;
  }
  return true;
}

class Differ {
 public:
  Differ(Client& daemon, uint32_t rank, Cancel& cancel)
      : daemon_(daemon), rank_(rank), cancel_(cancel) {}

  absl::Status Open(Session& session, const std::string& text, Side& side) {
    ASSIGN_OR_RETURN(side.checkpoint, session.Resolve(text));
    ASSIGN_OR_RETURN(side.manifest, daemon_.GetManifest(side.checkpoint.id, rank_));
    side.chunk_offsets = ChunkOffsets(side.manifest);
    return absl::OkStatus();
  }

  absl::StatusOr<std::vector<Change>> Run(const Side& a, const Side& b, bool quick) {
    std::map<std::string_view, const Entry*> before;
    for (const Entry& entry : a.manifest.entries) before[entry.name] = &entry;
    std::vector<Change> changes;
    std::vector<size_t> to_read;
    for (const Entry& entry : b.manifest.entries) {
      const auto found = before.find(entry.name);
      if (found == before.end()) {
        changes.push_back({Change::Kind::kAdded, nullptr, &entry, {}});
        continue;
      }
      const Entry* old = found->second;
      before.erase(found);
      if (SameForm(*old, entry) && SameChunks(a, *old, b, entry)) {
        ++same_;
        continue;
      }
      changes.push_back({Change::Kind::kChanged, old, &entry, {}});
      // Small entries share chunks, so only their bytes can tell.
      const bool small = entry.length < kSmallEntryBytes;
      if (SameForm(*old, entry) && (small || (!quick && entry.is_tensor()))) {
        to_read.push_back(changes.size() - 1);
        total_ += 2 * entry.length;
      }
    }
    for (const auto& [name, entry] : before) {
      changes.push_back({Change::Kind::kGone, entry, nullptr, {}});
    }
    ProgressBar bar("diff");
    RETURN_IF_ERROR(ReadSmall(a, b, changes, to_read, bar));
    for (size_t i : to_read) {
      if (changes[i].before->length >= kSmallEntryBytes) {
        RETURN_IF_ERROR(ReadLarge(a, b, changes[i], bar));
      }
    }
    std::erase_if(changes, [&](const Change& change) {
      if (!unchanged_.contains(change.after)) return false;
      ++same_;
      return true;
    });
    return changes;
  }

  size_t same() const { return same_; }

 private:
  // All small entries in one fetch a side, a batch at a time.
  absl::Status ReadSmall(const Side& a, const Side& b, std::vector<Change>& changes,
                         const std::vector<size_t>& to_read, ProgressBar& bar) {
    std::vector<std::string> names;
    std::vector<Change*> batch;
    uint64_t bytes = 0;
    const auto flush = [&]() -> absl::Status {
      if (batch.empty()) return absl::OkStatus();
      ASSIGN_OR_RETURN(const auto old,
                       FetchEntries(daemon_, a.checkpoint.id, rank_, a.manifest, names));
      ASSIGN_OR_RETURN(const auto now,
                       FetchEntries(daemon_, b.checkpoint.id, rank_, b.manifest, names));
      for (size_t i = 0; i < batch.size(); ++i) {
        if (old[i] == now[i]) {
          unchanged_.insert(batch[i]->after);
        } else if (batch[i]->after->is_tensor()) {
          Measure(*batch[i], std::as_bytes(std::span(old[i])), std::as_bytes(std::span(now[i])));
        }
      }
      done_ += 2 * bytes;
      bar.Update(done_, total_);
      names.clear();
      batch.clear();
      bytes = 0;
      return absl::OkStatus();
    };
    for (size_t i : to_read) {
      if (changes[i].after->length >= kSmallEntryBytes) continue;
      names.push_back(changes[i].after->name);
      batch.push_back(&changes[i]);
      bytes += changes[i].after->length;
      if (bytes >= kPieceBytes) RETURN_IF_ERROR(flush());
    }
    return flush();
  }

  absl::Status ReadLarge(const Side& a, const Side& b, Change& change, ProgressBar& bar) {
    const Entry& entry = *change.after;
    std::vector<std::byte> old, now;
    bool equal = true;  // the same bytes can lie in other chunks
    for (uint64_t offset = 0; offset < entry.length; offset += kPieceBytes) {
      const uint64_t length = std::min(kPieceBytes, entry.length - offset);
      old.resize(length);
      now.resize(length);
      RETURN_IF_ERROR(FetchInto(daemon_, a.checkpoint.id, rank_, a.manifest,
                                {{entry.name, offset, length, old.data()}}, nullptr, &cancel_));
      RETURN_IF_ERROR(FetchInto(daemon_, b.checkpoint.id, rank_, b.manifest,
                                {{entry.name, offset, length, now.data()}}, nullptr, &cancel_));
      equal = equal && std::memcmp(old.data(), now.data(), length) == 0;
      Measure(change, old, now);
      done_ += 2 * length;
      bar.Update(done_, total_);
    }
    if (equal) unchanged_.insert(change.after);
    return absl::OkStatus();
  }

  static void Measure(Change& change, std::span<const std::byte> old,
                      std::span<const std::byte> now) {
    if (!change.distance) change.distance.emplace();
    // A part at a time: the numbers are larger than the bytes.
    constexpr size_t kPart = 1 << 20;
    std::vector<double> x, y;
    for (size_t begin = 0; begin < old.size(); begin += kPart) {
      const size_t n = std::min(kPart, old.size() - begin);
      x.clear();
      y.clear();
      AppendNumbers(change.after->dtype, old.subspan(begin, n), x);
      AppendNumbers(change.after->dtype, now.subspan(begin, n), y);
      change.distance->Add(x, y);
    }
  }

  Client& daemon_;
  const uint32_t rank_;
  Cancel& cancel_;
  std::set<const Entry*> unchanged_;
  size_t same_ = 0;
  uint64_t done_ = 0, total_ = 0;
};

const char* KindName(Change::Kind kind) {
  switch (kind) {
    case Change::Kind::kAdded:
      return "added";
    case Change::Kind::kGone:
      return "gone";
    case Change::Kind::kChanged:
      break;
  }
  return "changed";
}

std::string FormText(const Change& change) {
  const auto form = [](const Entry& e) {
    return fmt::format("{} {}", DTypeName(e.dtype),
                       e.is_tensor() ? ShapeText(e) : FormatBytes(e.length));
  };
  if (change.before == nullptr) return form(*change.after);
  if (change.after == nullptr || SameForm(*change.before, *change.after))
    return form(*change.before);
  return form(*change.before) + " -> " + form(*change.after);
}

void Show(Session& session, const Side& a, const Side& b, const std::vector<Change>& changes,
          size_t same) {
  if (session.json()) {
    Json all = Json::array();
    for (const Change& change : changes) {
      const Entry& entry = change.after ? *change.after : *change.before;
      Json item = {{"entry", entry.name}, {"change", KindName(change.kind)}};
      item["before"] = change.before ? ToJson(*change.before) : Json();
      item["after"] = change.after ? ToJson(*change.after) : Json();
      if (change.distance) {
        item["elements"] = change.distance->elements();
        item["elements_changed"] = change.distance->changed();
        item["max_abs"] = NumberToJson(change.distance->max_abs());
        item["l2"] = NumberToJson(change.distance->l2());
        item["relative"] = NumberToJson(change.distance->relative());
      }
      all.push_back(std::move(item));
    }
    session.PrintJson(Json{{"before", ToJson(a.checkpoint)},
                           {"after", ToJson(b.checkpoint)},
                           {"unchanged", same},
                           {"changes", std::move(all)}});
    return;
  }
  size_t counts[3] = {};
  using Align = Table::Align;
  Table table({{"ENTRY"},
               {"CHANGE"},
               {"WHAT"},
               {"ELEMENTS CHANGED", Align::kRight},
               {"MAX ABS", Align::kRight},
               {"L2", Align::kRight},
               {"RELATIVE", Align::kRight}});
  for (const Change& change : changes) {
    ++counts[static_cast<size_t>(change.kind)];
    const Entry& entry = change.after ? *change.after : *change.before;
    std::vector<std::string> row = {entry.name, KindName(change.kind), FormText(change)};
    if (const auto& d = change.distance) {
      row.push_back(fmt::format("{} of {}", d->changed(), d->elements()));
      for (double value : {d->max_abs(), d->l2(), d->relative()}) {
        row.push_back(fmt::format("{:.3g}", value));
      }
    }
    table.Add(std::move(row));
  }
  if (!changes.empty()) session.Print(table.ToString() + "\n");
  session.Print(fmt::format("{} to {}: {} added, {} gone, {} changed, {} the same.\n",
                            Reference(a.checkpoint), Reference(b.checkpoint), counts[0], counts[1],
                            counts[2], same));
}

absl::Status Diff(Session& session, const Options& options) {
  RETURN_IF_ERROR(session.ParseRef(options.before).status());
  RETURN_IF_ERROR(session.ParseRef(options.after).status());
  ASSIGN_OR_RETURN(Client * daemon, session.Transfers());
  const Session::Transfer transfer;
  Differ differ(*daemon, options.rank, session.cancel());
  Side a, b;
  RETURN_IF_ERROR(differ.Open(session, options.before, a));
  RETURN_IF_ERROR(differ.Open(session, options.after, b));
  ASSIGN_OR_RETURN(const std::vector<Change> changes, differ.Run(a, b, options.quick));
  Show(session, a, b, changes, differ.same());
  if (options.exit_code && !changes.empty()) session.SetExitCode(kExitDiffers);
  return absl::OkStatus();
}

}  // namespace

void AddDiff(CLI::App& app, Session& session) {
  auto options = std::make_shared<Options>();
  CLI::App* verb = session.AddVerb(
      app, "diff", "Compares two checkpoints: entries added, gone, changed, and how far they moved",
      [options](Session& s) { return Diff(s, *options); });
  verb->add_option("BEFORE", options->before, "RUN@SELECTOR")->required();
  verb->add_option("AFTER", options->after, "RUN@SELECTOR")->required();
  verb->add_option("--rank", options->rank, "Which shard (default 0)")->type_name("N");
  verb->add_flag("--quick", options->quick,
                 "Only by digests: do not fetch large tensors to measure them");
  verb->add_flag("--exit-code", options->exit_code, "Exit with 8 if they differ");
}

}  // namespace ckpt::ctl
