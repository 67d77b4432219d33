#include <absl/strings/escaping.h>
#include <absl/time/clock.h>

#include <algorithm>

#include "client/ckptctl/files/target.h"
#include "client/ckptctl/json.h"
#include "client/ckptctl/progress.h"
#include "client/ckptctl/show.h"
#include "client/ckptctl/units.h"
#include "client/ckptctl/verbs/verbs.h"
#include "client/safetensors.h"
#include "client/state.h"
#include "client/upload.h"
#include "proto/chunking.h"
#include "proto/limits.h"

namespace ckpt::ctl {
namespace {

struct Options {
  std::string file;
  std::string run;
  std::string step;
  std::vector<std::string> metrics, labels;
};

// A file's tensors, and the opaque entries that fetch put into its metadata,
// as a shard's byte stream. Nothing but the header and those is held.
class FileShard {
 public:
  static absl::StatusOr<std::unique_ptr<FileShard>> Open(const std::string& path) {
    absl::StatusOr<std::unique_ptr<SafetensorsFile>> file = SafetensorsFile::Open(path);
    if (!file.ok()) {
      // The command is right, the file's bytes are not.
      if (file.status().code() == absl::StatusCode::kInvalidArgument) {
        return MakeError(absl::StatusCode::kDataLoss, reason::kBadField,
                         std::string(file.status().message()));
      }
      return file.status();
    }
    auto shard = std::unique_ptr<FileShard>(new FileShard(*std::move(file)));
    RETURN_IF_ERROR(shard->LayOutEntries());
    return shard;
  }

  const Manifest& manifest() const { return manifest_; }
  uint64_t bytes() const { return manifest_.bytes(); }

  // Reads the file once to name its chunks; the manifest is complete then.
  absl::Status Hash(const ProgressFn& progress, const Cancel& cancel) {
    std::vector<std::byte> buffer;
    uint64_t offset = 0;
    const uint64_t total = bytes();
    for (Chunk& chunk : manifest_.chunks) {
      if (cancel.requested()) return absl::CancelledError("interrupted");
      buffer.resize(chunk.length);
      RETURN_IF_ERROR(Read(offset, buffer));
      chunk.digest = HashBytes(buffer.data(), buffer.size());
      offset += chunk.length;
      progress({offset, total});
    }
    return CheckManifest(manifest_);
  }

  // Bytes of the stream; what lies between entries is zero.
  absl::Status Read(uint64_t offset, std::span<std::byte> into) const {
    std::fill(into.begin(), into.end(), std::byte{0});
    const uint64_t end = offset + into.size();
    auto it = std::partition_point(by_offset_.begin(), by_offset_.end(), [&](size_t i) {
      return manifest_.entries[i].offset + manifest_.entries[i].length <= offset;
    });
    for (; it != by_offset_.end() && manifest_.entries[*it].offset < end; ++it) {
      const Entry& entry = manifest_.entries[*it];
      const uint64_t from = std::max(offset, entry.offset);
      const uint64_t to = std::min(end, entry.offset + entry.length);
      if (from >= to) continue;
      const std::span<std::byte> part = into.subspan(from - offset, to - from);
      if (*it < tensors_) {
        RETURN_IF_ERROR(file_->Read(*it, from - entry.offset, part));
      } else {
        const std::string& value = values_[*it - tensors_];
        std::copy_n(reinterpret_cast<const std::byte*>(value.data()) + (from - entry.offset),
                    part.size(), part.data());
      }
    }
    return absl::OkStatus();
  }

 private:
  explicit FileShard(std::unique_ptr<SafetensorsFile> file) : file_(std::move(file)) {}

  absl::Status LayOutEntries() {
    manifest_.entries = file_->header().entries;
    tensors_ = manifest_.entries.size();
    for (const auto& [key, value] : file_->header().metadata) {
      Entry entry;
      std::string bytes;
      if (key == kStateDocument) {
        entry.name = key;
        bytes = value;
      } else if (key.starts_with(kBytesEntryPrefix)) {
        entry.name = key.substr(std::string_view(kBytesEntryPrefix).size());
        if (!absl::Base64Unescape(value, &bytes)) {
          return MakeError(absl::StatusCode::kDataLoss, reason::kBadField,
                           fmt::format("the file's metadata '{}' is no base64", Printable(key)));
        }
      } else {
        continue;
      }
      entry.length = bytes.size();
      manifest_.entries.push_back(std::move(entry));
      values_.push_back(std::move(bytes));
    }
    for (uint32_t length : LayOut(manifest_.entries)) manifest_.chunks.push_back({{}, length});
    for (size_t i = 0; i < manifest_.entries.size(); ++i) by_offset_.push_back(i);
    std::sort(by_offset_.begin(), by_offset_.end(), [&](size_t a, size_t b) {
      return manifest_.entries[a].offset < manifest_.entries[b].offset;
    });
    return absl::OkStatus();
  }

  const std::unique_ptr<SafetensorsFile> file_;
  Manifest manifest_;
  size_t tensors_ = 0;               // entries that are the file's, in its order
  std::vector<std::string> values_;  // of those after them
  std::vector<size_t> by_offset_;
};

absl::StatusOr<std::pair<std::string, std::string>> Split(const char* flag,
                                                          const std::string& text) {
  const size_t equals = text.find('=');
  if (equals == std::string::npos || equals == 0) {
    return BadField(flag,
                    fmt::format("{} '{}' is not of the form NAME=VALUE", flag, Printable(text)));
  }
  return std::pair(text.substr(0, equals), text.substr(equals + 1));
}

absl::StatusOr<ShardOffer> Offer(Session& session, const Options& options) {
  ShardOffer offer;
  ASSIGN_OR_RETURN(offer.run, session.ParseRun(options.run));
  ASSIGN_OR_RETURN(offer.step, ParseCount("--step", options.step));
  for (const std::string& text : options.metrics) {
    ASSIGN_OR_RETURN(const auto metric, Split("--metric", text));
    RETURN_IF_ERROR(CheckLabelName("metric", metric.first));
    ASSIGN_OR_RETURN(offer.metrics[metric.first],
                     ParseNumber("--metric " + metric.first, metric.second));
  }
  for (const std::string& text : options.labels) {
    ASSIGN_OR_RETURN(const auto label, Split("--label", text));
    offer.labels[label.first] = label.second;
  }
  return offer;
}

absl::Status Run(Session& session, const Options& options) {
  ASSIGN_OR_RETURN(ShardOffer offer, Offer(session, options));
  ASSIGN_OR_RETURN(const std::unique_ptr<FileShard> shard, FileShard::Open(options.file));
  ASSIGN_OR_RETURN(Client * daemon, session.Transfers());
  const Session::Transfer transfer;
  {
    ProgressBar bar("read " + Printable(options.file, 40));
    RETURN_IF_ERROR(shard->Hash(bar.Fn(), session.cancel()));
  }
  // Every push is an attempt of its own: it fences a job that still trains.
  ASSIGN_OR_RETURN(const OpenedAttempt opened,
                   daemon->OpenAttempt(
                       offer.run, fmt::format("ckptctl-push-{}", absl::ToUnixNanos(absl::Now()))));
  offer.attempt = opened.attempt.number;
  offer.manifest = &shard->manifest();
  ProgressBar bar(fmt::format("push {}@{}", offer.run.ToString(), offer.step));
  const PushRequest request{offer,
                            ChunkReader([&](uint32_t, uint64_t offset, std::span<std::byte> into) {
                              return shard->Read(offset, into);
                            })};
  ASSIGN_OR_RETURN(const PushResult result, Push(*daemon, request, bar.Fn(), &session.cancel()));
  bar.Clear();
  if (!result.checkpoint) {
    return MakeError(absl::StatusCode::kInternal, reason::kInternal,
                     "the daemon did not say that the checkpoint is committed");
  }
  if (session.json()) {
    session.PrintJson(Json{{"checkpoint", ToJson(*result.checkpoint)},
                           {"run_created", opened.run_created},
                           {"total_bytes", result.total_bytes},
                           {"sent_bytes", result.sent_bytes}});
    return absl::OkStatus();
  }
  session.Print(fmt::format("Committed {}: {}, of which {} had to be sent{}.\n",
                            Reference(*result.checkpoint), FormatBytes(result.total_bytes),
                            FormatBytes(result.sent_bytes),
                            opened.run_created ? "; the run is new" : ""));
  return absl::OkStatus();
}

}  // namespace

void AddPush(CLI::App& app, Session& session) {
  auto options = std::make_shared<Options>();
  CLI::App* verb = session.AddVerb(app, "push", "Commits a .safetensors file as a checkpoint",
                                   [options](Session& s) { return Run(s, *options); });
  verb->add_option("FILE", options->file, "A .safetensors file")->required();
  verb->add_option("RUN", options->run, "RUN or PROJECT/RUN; made if it does not exist")
      ->required();
  verb->add_option("--step", options->step, "The checkpoint's step")->type_name("N")->required();
  verb->add_option("--metric", options->metrics, "A metric, such as val_loss=1.25; can be repeated")
      ->type_name("NAME=VALUE")
      ->take_all();
  verb->add_option("--label", options->labels, "A note; can be repeated")
      ->type_name("KEY=VALUE")
      ->take_all();
}

}  // namespace ckpt::ctl
