// Measures a running ckptd against the disk it stands on, gRPC alone, memcpy, and
// what one would use instead: all of a state's measurements in turns, so that a
// slow minute of the machine hits all alike. The first round warms up and is not
// counted. tests/bench/run starts it.
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include <torch/torch.h>

#include <absl/time/clock.h>
#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include "tests/bench/common.h"
#include "tests/bench/flat.h"
#include "tests/bench/goals.h"
#include "tests/bench/report.h"
#include "tests/bench/rows.h"
#include "tests/bench/training.h"

namespace ckpt::bench {
namespace {

// Copies of a state that memory must hold for all measurements: the trainer's,
// the staging buffer, a backup's file, one that is fetched into, the page cache.
constexpr uint64_t kCopies = 6;

bool IsLean(uint64_t bytes) {
  const auto memory =
      static_cast<uint64_t>(sysconf(_SC_PHYS_PAGES)) * static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  return bytes * kCopies > memory;
}

template <class Subject>
void Rounds(const std::string& state, int rounds, Report& report, Subject& subject) {
  for (int round = 0; round <= rounds; ++round) {
    fmt::print(stderr, "bench: {}, {}\n", state,
               round == 0 ? "warming up" : fmt::format("round {} of {}", round, rounds));
    subject.Round(static_cast<size_t>(std::max(0, round - 1)));
    if (round == 0) report.ForgetSamples(state);
  }
}

// What the plot is drawn from: one line a size.
std::string PlotData(const Report& report,
                     const std::vector<std::pair<std::string, uint64_t>>& sizes) {
  std::string out = "# MiB, GB/s of each until durable, then seconds that training waits\n";
  const std::vector<const char*> columns = {kRawWrite,   kPush,  kTorchSave,
                                            kPythonSave, kRsync, kNginxPut};
  const std::vector<const char*> waits = {kStall, kCopy, kTorchSave};
  for (const auto& [state, bytes] : sizes) {
    out += fmt::format("{}", bytes >> 20);
    for (const char* const name : columns) {
      const auto summary = report.Find(state, name);
      out += summary ? fmt::format("\t{:.4f}", summary->rate()) : "\tNaN";
    }
    for (const char* const name : waits) {
      const auto summary = report.Find(state, name);
      out += summary ? fmt::format("\t{:.5f}", summary->seconds) : "\tNaN";
    }
    out += "\n";
  }
  return out;
}

void WriteFile(const std::string& path, const std::string& text) {
  std::ofstream out(path);
  if (!(out << text << std::flush)) Die("cannot write " + path);
}

int Main(int argc, char** argv) {
  Setup setup;
  std::vector<uint64_t> sizes;
  int rounds = 3;
  double step_seconds = 0.5;
  std::string out, machine;
  CLI::App app("Measures ckptd; tests/bench/run starts it.");
  app.add_option("--address", setup.daemon.address, "where the daemon listens")->required();
  app.add_option("--pid", setup.daemon.pid, "the daemon's process")->required();
  app.add_option("--dir", setup.directory, "directory that holds the daemon's data directory")
      ->required()
      ->check(CLI::ExistingDirectory);
  app.add_option("--memory", setup.memory, "directory in memory")
      ->required()
      ->check(CLI::ExistingDirectory);
  app.add_option("--worker", setup.worker, "ckpt_bench_worker")->required();
  app.add_option("--script", setup.script, "torch_server.py")->required();
  app.add_option("--out", out, "directory for results.json and plot.dat")
      ->required()
      ->check(CLI::ExistingDirectory);
  app.add_option("--machine", machine, "where the figures are from, in words");
  app.add_option("--size-mib", sizes, "sizes of the flat states, in MiB, multiples of 64")
      ->required()
      ->check(CLI::Range(64, 65536));
  app.add_option("--rounds", rounds, "rounds that count")->check(CLI::Range(1, 1000));
  app.add_option("--step-seconds", step_seconds, "how long a training step takes");
  CLI11_PARSE(app, argc, argv);

  torch::NoGradGuard no_grad;
  torch::set_num_threads(1);
  std::sort(sizes.begin(), sizes.end());
  Report report;
  std::vector<std::pair<std::string, uint64_t>> states;
  std::string compared;  // the largest state of which all was measured
  uint64_t workers_memory = 0;
  {
    Peers peers(setup);
    for (const uint64_t mebibytes : sizes) {
      const uint64_t bytes = (mebibytes + 63) / 64 * 64 << 20;
      Flat flat(setup, peers, bytes, IsLean(bytes), report);
      Rounds(flat.state(), rounds, report, flat);
      states.emplace_back(flat.state(), bytes);
      if (!flat.lean() || compared.empty()) compared = flat.state();
      workers_memory = std::max(workers_memory, flat.workers_memory());
    }
    Training training(setup, peers, step_seconds, report);
    Rounds(Training::kState, rounds, report, training);
    step_seconds = training.step_seconds();
  }

  const auto goals = Goals(report, compared, workers_memory);
  const std::string taken =
      absl::FormatTime("%Y-%m-%d %H:%M UTC", absl::Now(), absl::UTCTimeZone());
  fmt::print(
      "Taken {}, {}. Medians of {} rounds in turns; GB are 10^9 bytes. A training step is "
      "{:.2f} s of matrix products.\n\n{}\n{}",
      taken, machine, rounds, step_seconds, report.Table(), Table(goals));
  const nlohmann::json results = {{"taken", taken},        {"machine", machine},
                                  {"rounds", rounds},      {"step_seconds", step_seconds},
                                  {"rows", report.Json()}, {"ratios", Json(goals)}};
  WriteFile(out + "/results.json", results.dump(2) + "\n");
  WriteFile(out + "/plot.dat", PlotData(report, states));
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
