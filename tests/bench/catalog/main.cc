// What history costs: the same calls of the store over a short and over a long
// history, in turns, and a checkpoint of very many chunks.
#include <algorithm>
#include <chrono>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include "daemon/os/clock.h"
#include "daemon/os/file_system.h"
#include "daemon/store/reader.h"
#include "daemon/store/store.h"
#include "tests/bench/catalog/history.h"
#include "tests/bench/median.h"

namespace ckptd::bench {
namespace {

struct Options {
  std::string dir;
  HistoryShape small{10, 100}, large{10'000, 100}, deep{4, 10'000};
  uint32_t rounds = 200;
  uint32_t chunks = 100'000;
  uint32_t big_rounds = 3;
};

class Samples {
 public:
  // Calls `work` and notes how long it took.
  template <class F>
  auto Time(const std::string& name, F work) {
    const auto begin = std::chrono::steady_clock::now();
    auto result = work();
    seconds_[name].push_back(
        std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
    return result;
  }
  double Median(const std::string& name) const {
    const auto found = seconds_.find(name);
    return found == seconds_.end() ? 0 : ckpt::bench::Median(found->second);
  }
  std::string Text(const std::string& name) const {
    const double s = Median(name);
    return s == 0 ? "-" : s < 1 ? fmt::format("{:.3f} ms", s * 1e3) : fmt::format("{:.2f} s", s);
  }

 private:
  std::map<std::string, std::vector<double>> seconds_;
};

// Rows of the table; the history's name precedes them in the names of samples.
const std::vector<std::string> kRows = {
    "open",
    "first commit after the open",
    "offer, default policy",
    "commit, default policy",
    "offer, keep all",
    "commit, keep all",
    "resolve latest",
    "resolve best",
    "resolve step",
    "list 100",
    "list 100 with removed",
    "list 100 runs",
    "open an attempt and resume",
    "stats",
};

class History {
 public:
  History(std::string name, std::string dir, HistoryShape shape, Samples* samples)
      : name_(std::move(name)), dir_(std::move(dir)), shape_(shape), samples_(samples) {}

  absl::Status Make() { return MakeHistory(dir_, shape_); }

  absl::Status Open(os::FileSystem* fs, os::Clock* clock) {
    store_.reset();
    StoreOptions options;
    options.data_dir = dir_;
    options.keep_free_bytes = 0;
    ASSIGN_OR_RETURN(store_, Time("open", [&] { return Store::Open(options, fs, clock); }));
    return Push("first commit after the open", 0, 4);
  }
  void Close() { store_.reset(); }

  // Each kind of call once, on runs taken at random.
  absl::Status Round(std::mt19937_64& random) {
    // RunOf(4 i + 3) keeps everything, its neighbour does not.
    const auto at = static_cast<uint32_t>(random() % std::max(shape_.runs / 4, 1u)) * 4;
    const uint32_t plain = at, whole = at + 3;
    RETURN_IF_ERROR(Push("commit, default policy", plain, 4));
    RETURN_IF_ERROR(Push("commit, keep all", whole, 4));
    const uint32_t asked = random() % 2 == 0 ? plain : whole;
    RETURN_IF_ERROR(Resolve("resolve latest", asked, ckpt::SelectLatest{}));
    RETURN_IF_ERROR(Resolve("resolve best", plain, ckpt::SelectBest{}));
    RETURN_IF_ERROR(Resolve("resolve step", asked, ckpt::SelectStep{kBestStep}));
    const Store::ListRequest page{};
    RETURN_IF_ERROR(
        Time("list 100", [&] { return store_->ListCheckpoints(RunOf(whole), page); }).status());
    const Store::ListRequest all{.include_removed = true};
    RETURN_IF_ERROR(Time("list 100 with removed", [&] {
                      return store_->ListCheckpoints(RunOf(plain), all);
                    }).status());
    RETURN_IF_ERROR(
        Time("list 100 runs", [&] {
          return store_->ListRuns("default", "", RunOf(at), 100);
        }).status());
    RETURN_IF_ERROR(Time("stats", [&] { return store_->GetStats(std::nullopt); }).status());
    return Restart(asked);
  }

  // A checkpoint of very many chunks on its way in, out, and away.
  absl::Status Big(uint32_t chunks) {
    const uint32_t run = 0;
    for (const char* what : {"", ", again with the same chunks"}) {
      RETURN_IF_ERROR(Send(run, chunks, fmt::format("{} chunks: offer{}", chunks, what),
                           fmt::format("{} chunks: commit{}", chunks, what)));
      if (big_step_ == 0) big_step_ = steps_[run];
    }
    big_step_ = 0;
    ASSIGN_OR_RETURN(auto latest, store_->Resolve(RunOf(run), ckpt::SelectLatest{}, false));
    const std::string open = fmt::format("{} chunks: open to read", chunks);
    RETURN_IF_ERROR(
        samples_->Time(open, [&] { return store_->OpenReader(latest.checkpoint.id, 0); }).status());
    // Both hold the same chunks: nothing comes back before the last is gone.
    ASSIGN_OR_RETURN(auto before,
                     store_->ListCheckpoints(
                         RunOf(run), {.before_id = latest.checkpoint.id, .limit = 1}));
    RETURN_IF_ERROR(Push("", run, 4));
    RETURN_IF_ERROR(
        samples_
            ->Time(fmt::format("{} chunks: delete", chunks),
                   [&] {
                     return store_->DeleteCheckpoints(
                         RunOf(run), {latest.checkpoint.id, before.at(0).id}, false);
                   })
            .status());
    return samples_->Time(fmt::format("{} chunks: until the space is back", chunks), [&]() -> absl::Status {
      double slowest = 0;
      for (;;) {
        const auto begin = std::chrono::steady_clock::now();
        RETURN_IF_ERROR(Push("", run, 4));
        slowest = std::max(
            slowest,
            std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
        ASSIGN_OR_RETURN(auto stats, store_->GetStats(std::nullopt));
        const auto events = store_->ListEvents(RunOf(run), latest.checkpoint.id, 0, 1);
        RETURN_IF_ERROR(events.status());
        const bool given_back =
            !events->empty() && (*events)[0].kind == ckpt::Event::Kind::kReclaimed;
        if (given_back && stats.reclaimable_bytes < 100 * 4096) break;
      }
      slowest_meanwhile_ = std::max(slowest_meanwhile_, slowest);
      return absl::OkStatus();
    });
  }
  double slowest_meanwhile() const { return slowest_meanwhile_; }

 private:
  template <class F>
  std::invoke_result_t<F> Time(const std::string& what, F work) {
    return samples_->Time(name_ + what, std::move(work));
  }

  absl::StatusOr<uint64_t> AttemptOf(uint32_t run) {
    if (const auto known = attempts_.find(run); known != attempts_.end()) return known->second;
    const std::string launch = fmt::format("bench-{}", std::random_device()());
    ASSIGN_OR_RETURN(auto opened, store_->OpenAttempt(RunOf(run), launch, 1, std::nullopt, true));
    attempts_[run] = opened.attempt.number;
    steps_[run] = opened.run.latest ? opened.run.latest->step : 0;
    ASSIGN_OR_RETURN(auto answer, store_->Resume(RunOf(run), opened.attempt.number, 0,
                                                 ckpt::SelectLatest{}, false, std::nullopt));
    RETURN_IF_ERROR(store_->ReportLoad(answer.ticket_id, 0, true, "", false));
    return opened.attempt.number;
  }

  // "commit, ..." times the offer too. Nothing is timed for an empty name.
  absl::Status Push(const std::string& what, uint32_t run, uint32_t chunks) {
    const bool both = what.starts_with("commit");
    return Send(run, chunks, both ? name_ + "offer" + what.substr(6) : "unnamed",
                what.empty() ? "unnamed" : name_ + what);
  }

  absl::Status Send(uint32_t run, uint32_t chunks, const std::string& offer,
                    const std::string& commit) {
    ASSIGN_OR_RETURN(const uint64_t attempt, AttemptOf(run));
    const uint64_t step = steps_[run] += kStepsBetween;
    Store::UploadRequest request;
    request.run = RunOf(run);
    request.attempt = attempt;
    request.step = step;
    const uint64_t content = big_step_ != 0 ? big_step_ : step;
    request.manifest = ManifestOf(run, content, chunks);
    request.metrics = {{"val_loss", 1e6}, {"train_loss", 0.5}};
    request.labels = {{"commit", "4b825dc642cb6eb9a060e54bf8d69288fbee4904"}};
    ASSIGN_OR_RETURN(auto opened, samples_->Time(offer, [&] {
      return store_->OpenUpload(std::move(request));
    }));
    ASSIGN_OR_RETURN(auto upload, store_->FindUpload(opened.upload_id));
    for (const uint32_t index : opened.missing_chunks) {
      const std::string bytes = BytesOf(run, content, index);
      const std::span<const std::byte> part = std::as_bytes(std::span(bytes));
      RETURN_IF_ERROR(upload->Append(index, std::span(&part, 1)));
    }
    upload.reset();
    return samples_->Time(commit, [&] { return store_->CommitShard(opened.upload_id); }).status();
  }

  absl::Status Resolve(const std::string& what, uint32_t run, const ckpt::Selector& selector) {
    return Time(what, [&] { return store_->Resolve(RunOf(run), selector, true); }).status();
  }

  absl::Status Restart(uint32_t run) {
    attempts_.erase(run);
    return Time("open an attempt and resume", [&] { return AttemptOf(run); }).status();
  }

  const std::string name_, dir_;
  const HistoryShape shape_;
  Samples* const samples_;
  std::unique_ptr<Store> store_;
  std::map<uint32_t, uint64_t> attempts_, steps_;
  uint64_t big_step_ = 0;
  double slowest_meanwhile_ = 0;
};

absl::Status Run(const Options& options) {
  Samples samples;
  const std::unique_ptr<os::FileSystem> fs = os::NewRealFileSystem();
  os::RealClock clock;
  History small("small ", options.dir + "/small", options.small, &samples);
  History large("large ", options.dir + "/large", options.large, &samples);
  History deep("deep ", options.dir + "/deep", options.deep, &samples);
  History* const all[] = {&small, &large, &deep};
  for (History* history : all) {
    const auto begin = std::chrono::steady_clock::now();
    RETURN_IF_ERROR(history->Make());
    fmt::print(stderr, "made in {:.1f} s\n",
               std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
  }
  for (int i = 0; i < 3; ++i) {
    for (History* history : all) {
      history->Close();
      RETURN_IF_ERROR(history->Open(fs.get(), &clock));
    }
  }
  std::this_thread::sleep_for(std::chrono::seconds(5));
  std::mt19937_64 random(1);
  for (uint32_t i = 0; i < options.rounds; ++i) {
    for (History* history : all) RETURN_IF_ERROR(history->Round(random));
  }
  const auto shape = [](const HistoryShape& s) {
    return fmt::format("{} runs of {}", s.runs, s.checkpoints);
  };
  fmt::print("| what | {} | {} | ratio | {} | ratio |\n|---|--:|--:|--:|--:|--:|\n",
             shape(options.small), shape(options.large), shape(options.deep));
  for (const std::string& row : kRows) {
    const auto ratio = [&](const char* to) {
      return fmt::format("{:.2f}", samples.Median(to + row) / samples.Median("small " + row));
    };
    fmt::print("| {} | {} | {} | {} | {} | {} |\n", row, samples.Text("small " + row),
               samples.Text("large " + row), ratio("large "), samples.Text("deep " + row),
               ratio("deep "));
  }
  std::fflush(stdout);
  if (options.chunks == 0) return absl::OkStatus();
  for (uint32_t i = 0; i < options.big_rounds; ++i) RETURN_IF_ERROR(large.Big(options.chunks));
  fmt::print("\n| a checkpoint in the long history | |\n|---|--:|\n");
  for (const char* row : {"offer", "commit", "offer, again with the same chunks",
                          "commit, again with the same chunks", "open to read", "delete",
                          "until the space is back"}) {
    const std::string name = fmt::format("{} chunks: {}", options.chunks, row);
    fmt::print("| {} | {} |\n", name, samples.Text(name));
  }
  fmt::print("| slowest save of another checkpoint meanwhile | {:.0f} ms |\n",
             large.slowest_meanwhile() * 1e3);
  return absl::OkStatus();
}

}  // namespace
}  // namespace ckptd::bench

int main(int argc, char** argv) {
  ckptd::bench::Options options;
  CLI::App app("What history costs: the daemon's store over a short, a long and a deep history, in turns.");
  app.add_option("--dir", options.dir, "Where the histories are made, or lie already")->required();
  app.add_option("--runs", options.large.runs, "Runs of the long history");
  app.add_option("--each", options.large.checkpoints, "Checkpoints of each of its runs");
  app.add_option("--rounds", options.rounds, "Calls of each kind");
  app.add_option("--chunks", options.chunks, "Chunks of the large checkpoint; 0: leave it out");
  CLI11_PARSE(app, argc, argv);
  spdlog::set_level(spdlog::level::warn);
  if (const absl::Status status = ckptd::bench::Run(options); !status.ok()) {
    fmt::print(stderr, "{}\n", status.ToString());
    return 1;
  }
  return 0;
}
