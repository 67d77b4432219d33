// What eight pushers lose by a crowd of idle and slow peers: rounds without and
// with it, in turns, the order changing from pair to pair. tests/bench/run_crowd
// starts it.
#include <algorithm>
#include <string>
#include <vector>

#include <absl/time/clock.h>
#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include "tests/bench/common.h"
#include "tests/bench/crowd/rounds.h"
#include "tests/bench/goal.h"
#include "tests/bench/median.h"

namespace ckpt::bench {
namespace {

using Values = std::vector<double>;

// Of one kind.
struct Series {
  Values seconds, processor, memory;

  void Add(const Round& round) {
    seconds.push_back(round.seconds);
    processor.push_back(round.processor);
    memory.push_back(static_cast<double>(round.memory) / (1 << 20));
  }
  std::string Row(const std::string& what, uint64_t bytes) const {
    const auto [low, high] = std::ranges::minmax(seconds);
    return fmt::format(
        "| {} | {:.2f} s | {:.2f} s to {:.2f} s | {:.2f} | {:.2f} s | {:.0f} MiB |\n", what,
        Median(seconds), low, high, static_cast<double>(bytes) / Median(seconds) / 1e9,
        Median(processor), std::ranges::max(memory));
  }
};

void Print(const Series& alone, const Series& beside, uint64_t bytes) {
  Values ratios;
  fmt::print("| pair | alone | beside the crowd | ratio of rates |\n|--:|--:|--:|--:|\n");
  for (size_t i = 0; i < alone.seconds.size(); ++i) {
    ratios.push_back(alone.seconds[i] / beside.seconds[i]);
    fmt::print("| {} | {:.2f} s | {:.2f} s | {:.2f} |\n", i + 1, alone.seconds[i],
               beside.seconds[i], ratios[i]);
  }
  fmt::print(
      "\n| {} runs push {} MiB at once, until durable | median | range | GB/s | the daemon's "
      "processor time | its memory at most |\n|---|--:|--:|--:|--:|--:|\n{}{}\n",
      kPushers, bytes / kPushers >> 20, alone.Row("alone", bytes),
      beside.Row(fmt::format("beside {} idle connections and {} slow streams", kCrowd.idle,
                             kCrowd.pushes + kCrowd.fetches),
                 bytes));
  const auto [low, high] = std::ranges::minmax(ratios);
  std::vector<Goal> goals;
  goals.push_back({.text = fmt::format("rate beside the crowd over that alone, median of {} pairs "
                                       "({:.2f} to {:.2f})",
                                       ratios.size(), low, high),
                   .value = Median(ratios),
                   .wanted = 0.90});
  goals.push_back({.text = "the same, of the medians",
                   .value = Median(alone.seconds) / Median(beside.seconds)});
  goals.push_back({.text = "the daemon's memory beside the crowd",
                   .value = std::ranges::max(beside.memory),
                   .unit = "MiB",
                   .wanted = 512,
                   .at_least = false});
  fmt::print("{}", Table(goals));
}

int Main(int argc, char** argv) {
  DaemonAt daemon;
  std::string directory, worker, machine;
  uint64_t mebibytes = 128;
  int rounds = 9;
  CLI::App app("Measures ckptd beside a crowd; tests/bench/run_crowd starts it.");
  app.add_option("--address", daemon.address, "where the daemon listens")->required();
  app.add_option("--pid", daemon.pid, "the daemon's process")->required();
  app.add_option("--dir", directory, "directory that holds the daemon's data directory")
      ->required()
      ->check(CLI::ExistingDirectory);
  app.add_option("--worker", worker, "ckpt_bench_worker")->required();
  app.add_option("--machine", machine, "where the figures are from, in words");
  app.add_option("--size-mib", mebibytes, "what each run pushes, in MiB")
      ->check(CLI::Range(1, 4096));
  app.add_option("--rounds", rounds, "pairs of rounds")->check(CLI::Range(1, 999));
  CLI11_PARSE(app, argc, argv);
  if (rounds % 2 == 0) Die("an odd number of rounds has a median");

  Rounds bench(daemon, directory, worker, mebibytes << 20);
  Series alone, beside;
  for (int pair = 0; pair <= rounds; ++pair) {
    fmt::print(stderr, "bench: {}\n",
               pair == 0 ? "warming up" : fmt::format("pair {} of {}", pair, rounds));
    if (pair % 2 == 0) beside.Add(bench.BesideCrowd());
    alone.Add(bench.Alone());
    if (pair % 2 == 1) beside.Add(bench.BesideCrowd());
    if (pair == 0) alone = beside = {};
  }
  fmt::print(
      "Taken {}, {}. GB are 10^9 bytes. All of the crowd "
      "was still served at the end of each round.\n\n",
      absl::FormatTime("%Y-%m-%d %H:%M UTC", absl::Now(), absl::UTCTimeZone()), machine);
  Print(alone, beside, kPushers * (mebibytes << 20));
  return 0;
}

}  // namespace
}  // namespace ckpt::bench

int main(int argc, char** argv) { return ckpt::bench::Main(argc, argv); }
