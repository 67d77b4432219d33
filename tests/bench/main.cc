// Measures a running ckptd against the disk it stands on and against
// torch::save and torch::load: the same state, the same directory, taken in
// turns, so that a slow minute of the machine hits all alike. The first round
// warms up and is not counted. Prints a Markdown table of medians.
#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include <torch/torch.h>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include "client/checkpointer.h"
#include "client/libtorch/tensors.h"
#include "tests/bench/disk.h"
#include "tests/bench/report.h"

namespace ckpt::bench {
namespace {

constexpr char kRawWrite[] = "raw disk, write";
constexpr char kRawRead[] = "raw disk, read";
constexpr char kPush[] = "ckptd: push until durable";
constexpr char kPushTenth[] = "ckptd: push until durable, 10 % changed";
constexpr char kFetch[] = "ckptd: fetch, digests checked";
constexpr char kStall[] = "ckptd: training stands still for a save";
constexpr char kDrag[] = "ckptd: training loses in all, slower steps included";
constexpr char kTorchSave[] = "torch::save + fsync: training stands still";
constexpr char kTorchLoad[] = "torch::load";

[[noreturn]] void Die(const absl::Status& status) {
  fmt::print(stderr, "bench: {}\n", std::string(status.message()));
  std::exit(1);
}
void Must(const absl::Status& status) {
  if (!status.ok()) Die(status);
}
template <class T>
T Must(absl::StatusOr<T> value) {
  if (!value.ok()) Die(value.status());
  return *std::move(value);
}

double Now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

struct Named {
  std::string name;
  torch::Tensor tensor;
};

// A state as a transformer has it: per 64 MiB two large matrices, one middling
// and a vector.
std::vector<Named> MakeTensors(uint64_t bytes) {
  std::vector<Named> tensors;
  for (uint64_t block = 0; block * (64u << 20) < bytes; ++block) {
    const auto add = [&](const char* part, std::vector<int64_t> shape) {
      tensors.push_back({fmt::format("block.{}.{}", block, part), torch::empty(shape)});
    };
    add("mlp.weight", {3072, 4096});
    add("attention.weight", {3072, 1024});
    add("embedding.weight", {1023, 1024});
    add("norm.weight", {1024});
  }
  return tensors;
}

uint64_t BytesOf(const std::vector<Named>& tensors) {
  uint64_t bytes = 0;
  for (const Named& named : tensors) bytes += named.tensor.nbytes();
  return bytes;
}

// New random bytes in the first `bytes` of the tensors.
void Change(std::vector<Named>& tensors, uint64_t bytes) {
  for (Named& named : tensors) {
    const uint64_t part = std::min<uint64_t>(bytes, named.tensor.nbytes());
    named.tensor.view({-1}).narrow(0, 0, static_cast<int64_t>(part / 4)).uniform_();
    bytes -= part;
    if (bytes == 0) return;
  }
}

class Bench {
 public:
  struct Options {
    std::string address;
    std::string directory;  // holds the daemon's data directory too
    uint64_t bytes = 0;
  };

  explicit Bench(Options options)
      : options_(std::move(options)),
        source_(MakeTensors(options_.bytes)),
        target_(MakeTensors(options_.bytes)),
        bytes_(BytesOf(source_)),
        raw_file_(options_.directory + "/raw"),
        torch_file_(options_.directory + "/torch.pt") {
    CheckpointerOptions checkpointer;
    checkpointer.client.address = options_.address;
    checkpointer.run = {"default", "bench"};
    checkpointer.policy.emplace().keep_last = 1;
    checkpointer.on_result = [this](const SaveResult& result) { result_ = result; };
    checkpointer_ = Must(Checkpointer::Open(std::move(checkpointer)));
    Change(source_, bytes_);
    left_ = torch::rand({768, 768});
    right_ = torch::rand({768, 768});
  }

  uint64_t bytes() const { return bytes_; }
  size_t tensors() const { return source_.size(); }
  Report& report() { return report_; }

  // All measurements, beginning with number `first` so that no one always
  // follows the same other.
  void Round(size_t first) {
    const std::vector<std::function<void()>> all = {
        [&] { report_.Add(kRawWrite, RawWrite(raw_file_, bytes_), bytes_); },
        [&] { PushAll(); },
        [&] { TorchSave(); },
        [&] { PushTenth(); },
        [&] { PushWhileTraining(); },
        [&] { report_.Add(kRawRead, RawRead(raw_file_, bytes_), bytes_); },
        [&] { FetchLatest(); },
        [&] { TorchLoad(); },
    };
    for (size_t i = 0; i < all.size(); ++i) all[(first + i) % all.size()]();
  }

 private:
  // Saves the state and waits until it is durable.
  SaveResult SaveAndFlush() {
    Settle(options_.directory);
    Must(checkpointer_->Save(++step_, StateOf(source_)).status());
    Must(checkpointer_->Flush());
    return result_;
  }

  static State StateOf(const std::vector<Named>& tensors) {
    State state;
    for (const Named& named : tensors) {
      state.Add(Must(libtorch::TensorEntry("model/" + named.name, named.tensor)));
    }
    return state;
  }

  void PushAll() {
    Change(source_, bytes_);
    const SaveResult result = SaveAndFlush();
    report_.Add(kPush, absl::ToDoubleSeconds(result.duration), bytes_);
    report_.Add(kStall, absl::ToDoubleSeconds(result.stall), bytes_);
  }

  void PushTenth() {
    Change(source_, bytes_ / 10);
    const SaveResult result = SaveAndFlush();
    report_.Add(kPushTenth, absl::ToDoubleSeconds(result.duration), result.sent_bytes);
  }

  // What a save costs a training loop on this machine's own cores: the time of
  // all steps until the save is durable, less what as many steps take alone.
  void PushWhileTraining() {
    Change(source_, bytes_);
    Settle(options_.directory);
    constexpr int kAlone = 20;
    const double alone = Now();
    for (int i = 0; i < kAlone; ++i) TrainingStep();
    const double begun = Now();
    const double step_seconds = (begun - alone) / kAlone;
    Must(checkpointer_->Save(++step_, StateOf(source_)).status());
    int steps = 0;
    while (checkpointer_->FlushFor(absl::ZeroDuration()).code() ==
           absl::StatusCode::kDeadlineExceeded) {
      TrainingStep();
      ++steps;
    }
    Must(checkpointer_->Flush());
    report_.Add(kDrag, Now() - begun - steps * step_seconds);
  }

  void TrainingStep() { left_ = torch::mm(left_, right_).clamp_(0, 1); }

  void FetchLatest() {
    Settle(options_.directory);
    Client& client = checkpointer_->client();
    const double begun = Now();
    const Resolved resolved = Must(client.Resolve(checkpointer_->run().name, SelectLatest{}));
    const Manifest manifest = Must(client.GetManifest(resolved.checkpoint.id, 0));
    std::vector<Destination> destinations;
    for (const Named& named : target_) {
      destinations.push_back({.entry = "model/" + named.name,
                              .data = static_cast<std::byte*>(named.tensor.data_ptr())});
    }
    Must(FetchInto(client, resolved.checkpoint.id, 0, manifest, destinations));
    report_.Add(kFetch, Now() - begun, bytes_);
    for (size_t i = 0; i < source_.size(); ++i) {
      if (!torch::equal(source_[i].tensor, target_[i].tensor)) {
        Die(absl::DataLossError("what was fetched is not what was pushed: " + source_[i].name));
      }
    }
  }

  void TorchSave() {
    std::filesystem::remove(torch_file_);
    Settle(options_.directory);
    const double begun = Now();
    torch::serialize::OutputArchive archive;
    for (const Named& named : source_) archive.write(named.name, named.tensor);
    archive.save_to(torch_file_);
    SyncFile(torch_file_);
    report_.Add(kTorchSave, Now() - begun, bytes_);
  }

  void TorchLoad() {
    if (!std::filesystem::exists(torch_file_)) TorchSave();
    Settle(options_.directory);
    const double begun = Now();
    torch::serialize::InputArchive archive;
    archive.load_from(torch_file_);
    for (Named& named : target_) archive.read(named.name, named.tensor);
    report_.Add(kTorchLoad, Now() - begun, bytes_);
  }

  const Options options_;
  std::vector<Named> source_;  // what the newest push holds
  std::vector<Named> target_;
  const uint64_t bytes_;
  const std::string raw_file_, torch_file_;
  std::unique_ptr<Checkpointer> checkpointer_;
  uint64_t step_ = 0;
  SaveResult result_;  // of the last push; read after Flush only
  torch::Tensor left_, right_;
  Report report_;
};

int Main(int argc, char** argv) {
  Bench::Options options;
  uint64_t mib = 1024;
  int rounds = 5;
  CLI::App app("Measures ckptd against the raw disk and torch::save.");
  app.add_option("--address", options.address, "where the daemon listens")->required();
  app.add_option("--dir", options.directory, "directory that holds the daemon's data directory")
      ->required()
      ->check(CLI::ExistingDirectory);
  app.add_option("--size-mib", mib, "size of the state, in MiB, a multiple of 64")
      ->check(CLI::Range(64, 65536));
  app.add_option("--rounds", rounds, "rounds that count")->check(CLI::Range(1, 1000));
  CLI11_PARSE(app, argc, argv);
  options.bytes = mib << 20;

  torch::NoGradGuard no_grad;
  torch::set_num_threads(1);
  Bench bench(options);
  for (int round = 0; round <= rounds; ++round) {
    fmt::print(stderr, "bench: {}\n",
               round == 0 ? "warming up" : fmt::format("round {} of {}", round, rounds));
    if (round == 1) bench.report().Clear();
    bench.Round(static_cast<size_t>(round == 0 ? 0 : round - 1));
  }
  fmt::print("\nState: {} MiB of float32 in {} tensors. Medians of {} rounds, taken in turns.\n\n",
             bench.bytes() >> 20, bench.tensors(), rounds);
  fmt::print("{}", bench.report().Table({
                       {kRawWrite, kRawWrite, ""},
                       {kPush, kRawWrite, kTorchSave},
                       {kPushTenth, kRawWrite, kTorchSave},
                       {kTorchSave, kRawWrite, ""},
                       {kStall, "", kTorchSave},
                       {kDrag, "", kTorchSave},
                       {kRawRead, kRawRead, ""},
                       {kFetch, kRawRead, kTorchLoad},
                       {kTorchLoad, kRawRead, ""},
                   }));
  fmt::print("\nOf the state with 10 % changed, {:.1f} % went over the line.\n",
             100.0 * static_cast<double>(bench.report().MedianBytes(kPushTenth)) /
                 static_cast<double>(bench.bytes()));
  return 0;
}

}  // namespace
}  // namespace ckpt::bench

int main(int argc, char** argv) {
  try {
    return ckpt::bench::Main(argc, argv);
  } catch (const std::exception& error) {
    fmt::print(stderr, "bench: {}\n", error.what());
    return 1;
  }
}
