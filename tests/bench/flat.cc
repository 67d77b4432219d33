#include "tests/bench/flat.h"

#include <algorithm>
#include <array>
#include <filesystem>

#include <fmt/format.h>

#include "tests/bench/common.h"
#include "tests/bench/disk.h"
#include "tests/bench/loopback.h"
#include "tests/bench/rows.h"
#include "tests/bench/workers.h"

namespace ckpt::bench {
namespace {

constexpr char kRun[] = "flat";
constexpr uint64_t kMaxWorkerBytes = 128 << 20;  // each
constexpr uint64_t kMaxLoopbackBytes = 1 << 30;

std::string SizeName(uint64_t bytes) {
  return bytes % (1 << 30) == 0 ? fmt::format("{} GiB", bytes >> 30)
                                : fmt::format("{} MiB", bytes >> 20);
}

}  // namespace

Flat::Sharing::Sharing(const Setup& setup, uint64_t bytes)
    : directory(setup.directory + "/sharing"),
      file((std::filesystem::create_directories(directory), setup.memory + "/shared"), bytes),
      restic(directory),
      borg(directory) {
  restic.Put(file);
  borg.Put(file);
}

Flat::Sharing::~Sharing() {
  std::error_code ignored;
  std::filesystem::remove_all(directory, ignored);
}

Flat::Flat(const Setup& setup, Peers& peers, uint64_t bytes, bool lean, Report& report)
    : setup_(setup),
      peers_(peers),
      bytes_(bytes),
      lean_(lean),
      state_(SizeName(bytes)),
      raw_file_(setup.directory + "/raw"),
      report_(report),
      source_(FlatTensors(bytes)) {}

Flat::~Flat() {
  saver_.reset();
  DeleteRun(setup_.daemon, kRun);
  std::error_code ignored;
  std::filesystem::remove(raw_file_, ignored);
}

void Flat::Round(size_t first) {
  constexpr std::array kAll = {&Flat::MeasureDisk,    &Flat::MeasureSaves,    &Flat::MeasureTorch,
                               &Flat::MeasureFiles,   &Flat::MeasureSharing,  &Flat::MeasureWorkers,
                               &Flat::MeasureFetches, &Flat::MeasureLoopback, &Flat::MeasureCopy};
  for (size_t i = 0; i < kAll.size(); ++i) (this->*kAll[(first + i) % kAll.size()])();
}

void Flat::Settle() const { bench::Settle(setup_.directory); }

void Flat::Add(const char* row, double seconds, const char* against) {
  report_.Add(state_, row, {.seconds = seconds, .bytes = bytes_}, against);
}

void Flat::MeasureDisk() {
  Add(kRawWrite, RawWrite(raw_file_, bytes_), kRawWrite);
  Add(kRawRead, RawRead(raw_file_, bytes_), kRawRead);
}

void Flat::MeasureLoopback() {
  const uint64_t bytes = std::min(bytes_, kMaxLoopbackBytes);
  const double seconds = static_cast<double>(bytes) / 1e9 / LoopbackRate(bytes);
  report_.Add(state_, kLoopback, {.seconds = seconds, .bytes = bytes});
}

void Flat::MeasureCopy() {
  if (lean_) saver_.reset();
  Add(kCopy, CopyOnce(source_));
}

void Flat::MeasureSaves() {
  if (saver_ == nullptr) {
    saver_ = std::make_unique<Saver>(setup_.daemon, kRun);
    Refill(source_);
    saver_->Save(source_);
  }
  Refill(source_);
  Settle();
  const SaveResult all = saver_->Save(source_);
  Add(kPush, absl::ToDoubleSeconds(all.duration), kRawWrite);
  Add(kStall, absl::ToDoubleSeconds(all.stall));

  Refill(source_, bytes_ / 10);
  Settle();
  const SaveResult tenth = saver_->Save(source_);
  report_.Add(
      state_, kPushTenth,
      {.seconds = absl::ToDoubleSeconds(tenth.duration), .added = tenth.checkpoint->stored_bytes});
  if (lean_) saver_.reset();
}

void Flat::MeasureFetches() {
  Tensors target = FlatTensors(bytes_);
  Refill(target);
  Settle();
  const uint64_t before = ReadFromDisk(setup_.daemon);
  Add(kFetchCold, FetchLatest(setup_.daemon, kRun, target), kRawRead);
  MustEqual(source_, target);
  const uint64_t cold = ReadFromDisk(setup_.daemon);
  if (cold - before < bytes_ / 10 * 9) Die("the fetch from cold disk was not from the disk");
  if (lean_) return;

  Refill(target);
  Add(kFetchWarm, FetchLatest(setup_.daemon, kRun, target), kRawRead);
  MustEqual(source_, target);
  const uint64_t warm = ReadFromDisk(setup_.daemon);
  if (warm - cold > bytes_ / 10) Die("the fetch from page cache was not from there");
}

void Flat::MeasureTorch() {
  Settle();
  Add(kTorchSave, peers_.torch.Put(source_), kRawWrite);
  // Into what is there: of a lean state there is no room for two.
  Settle();
  Add(kTorchLoad, peers_.torch.Get(source_), kRawRead);
  peers_.torch.Clear();
}

void Flat::MeasureFiles() {
  StateFile file(setup_.memory + "/state", bytes_);
  peers_.python.Open(file);
  Settle();
  Add(kPythonSave, peers_.python.Put(), kRawWrite);
  if (!lean_) {
    Settle();
    Add(kPythonLoad, peers_.python.Get(), kRawRead);
  }
  peers_.python.Close();
  peers_.python.Clear();

  Settle();
  Add(kRsync, peers_.rsync.Put(file), kRawWrite);
  peers_.rsync.Clear();

  Settle();
  Add(kNginxPut, peers_.nginx.Put(file), kRawWrite);
  if (!lean_) Add(kNginxGet, peers_.nginx.Get(bytes_), kRawRead);
  peers_.nginx.Clear();
}

void Flat::MeasureSharing() {
  if (lean_) return;
  if (sharing_ == nullptr) sharing_ = std::make_unique<Sharing>(setup_, bytes_);
  sharing_->file.Refill(bytes_ / 10);
  const auto measure = [&](const char* row, auto& peer) {
    Settle();
    const uint64_t before = peer.Stored();
    const double seconds = peer.Put(sharing_->file);
    report_.Add(state_, row, {.seconds = seconds, .added = peer.Stored() - before});
  };
  measure(kRestic, sharing_->restic);
  measure(kBorg, sharing_->borg);
}

void Flat::MeasureWorkers() {
  const uint64_t bytes = std::min(bytes_, kMaxWorkerBytes);
  const auto start = [&](int workers) {
    return std::make_unique<Workers>(setup_.worker, setup_.daemon.address,
                                     setup_.directory + "/workers.log", workers);
  };
  const auto pushers = start(8);
  pushers->MakeStates(bytes);
  Settle();
  ForgetPeak(setup_.daemon);
  report_.Add(state_, kEightPush, {.seconds = pushers->Push(), .bytes = 8 * bytes}, kRawWrite);
  workers_memory_ = std::max(workers_memory_, PeakMemory(setup_.daemon));

  const auto fetch = [&](const char* row, int workers, int times) {
    const auto fetchers = start(workers);
    fetchers->Aim(Workers::RunOf(0));
    if (workers == 1) fetchers->Fetch(1);  // into the page cache
    report_.Add(state_, row,
                {.seconds = fetchers->Fetch(times),
                 .bytes = static_cast<uint64_t>(workers * times) * bytes},
                kRawRead);
  };
  fetch(kFetchOne, 1, 8);
  fetch(kFetchEight, 8, 1);
  fetch(kFetchSixteen, 16, 1);
}

}  // namespace ckpt::bench
