#include "tests/crash/simulated_house.h"

#include <algorithm>
#include <thread>

#include "daemon/catalog/catalog.h"
#include "daemon/catalog/chunks.h"
#include "daemon/chunks/layout.h"

namespace ckpt::crash {
namespace {

constexpr char kDataDir[] = "/data";

}  // namespace

SimulatedHouse::SimulatedHouse() {
  std::vector<std::string> changed;
  EXPECT_EQ(disk_.MakeDirs(kDataDir, &changed), 0);
  EXPECT_EQ(disk_.SyncDir("/"), 0);
}

SimulatedHouse::~SimulatedHouse() { Drain(); }

absl::Status SimulatedHouse::Open() {
  ckptd::StoreOptions options;
  options.data_dir = kDataDir;
  options.keep_free_bytes = 0;
  options.prune_interval = absl::Milliseconds(20);
  options.compress = true;
  options.scrub = true;
  options.scrub_rate = 0;
  options.scrub_interval = absl::ZeroDuration();
  ASSIGN_OR_RETURN(store_, ckptd::Store::Open(options, &fs_, &clock_));
  tokens_ = std::make_unique<ckptd::Tokens>(store_->catalog(), &clock_);
  ASSIGN_OR_RETURN(audit_, ckptd::Audit::Open("", &clock_));
  const ckptd::Guard guard(store_.get(), tokens_.get(), audit_.get(), /*asks=*/false);
  ckptd::Config config;
  config.listen = {"127.0.0.1:0"};
  ASSIGN_OR_RETURN(server_, ckptd::Server::Start(config, guard));
  return absl::OkStatus();
}

testing::AssertionResult SimulatedHouse::Start() {
  if (const absl::Status started = TryStart(); !started.ok()) {
    return testing::AssertionFailure() << "the daemon does not start: " << started;
  }
  return testing::AssertionSuccess();
}

absl::Status SimulatedHouse::TryStart() {
  RETURN_IF_ERROR(Open());
  const std::string address = server_->addresses().front();
  line_.SetTarget(std::stoi(address.substr(address.rfind(':') + 1)));
  return absl::OkStatus();
}

void SimulatedHouse::Die() {
  CountKill();
  line_.SetTarget(0);
  line_.CutAll();
  disk_.PowerLost();
  if (server_ != nullptr) server_->Drain(absl::ZeroDuration());
  server_.reset();
  tokens_.reset();
  store_.reset();
}

void SimulatedHouse::CutPower(uint64_t n, absl::Duration limit,
                              ckptd::os::SimulatedDisk::Random& random) {
  disk_.CutPowerAt(n);
  disk_.AwaitCut(limit);
  Die();
  disk_.PowerOn(random);
}

bool SimulatedHouse::StartAndCutPower(uint64_t n, const std::function<void()>& play,
                                      ckptd::os::SimulatedDisk::Random& random) {
  disk_.CutPowerAt(n);
  std::atomic<bool> done = false;
  bool cut = false;
  std::thread machine([&] {
    while (!done && !cut) cut = disk_.AwaitCut(absl::Milliseconds(1));
    if (!cut) return;
    CountKill();
    line_.CutAll();
    disk_.PowerLost();
  });
  if (Start()) play();  // the power may go before it is up
  done = true;
  machine.join();
  Die();
  disk_.PowerOn(random);
  return cut;
}

void SimulatedHouse::Drain() {
  CountKill();
  line_.SetTarget(0);
  line_.CutAll();
  if (server_ != nullptr) server_->Drain(absl::Seconds(30));
  server_.reset();
  tokens_.reset();
  store_.reset();
}

void SimulatedHouse::Tolerate(std::vector<std::string> reasons) {
  absl::MutexLock lock(&mutex_);
  tolerated_ = std::move(reasons);
}

bool SimulatedHouse::MayFail(const absl::Status& status) const {
  absl::MutexLock lock(&mutex_);
  return std::ranges::find(tolerated_, ReasonOf(status)) != tolerated_.end();
}

House::Packs SimulatedHouse::MeasurePacks() const {
  Packs packs;
  const std::string under = ckptd::Layout(kDataDir).Packs() + "/";
  for (const auto& file : disk_.Files()) {
    if (!file.path.starts_with(under) || !file.path.ends_with(".pack")) continue;
    packs.bytes += file.allocated;
    ++packs.files;
  }
  return packs;
}

absl::Status SimulatedHouse::CheckCatalog() {
  ASSIGN_OR_RETURN(auto catalog,
                   ckptd::catalog::Catalog::Open(ckptd::Layout(kDataDir).Catalog()));
  RETURN_IF_ERROR(catalog->Check());
  ASSIGN_OR_RETURN(auto txn, catalog->BeginRead());
  return ckptd::catalog::CheckReferences(*txn);
}

}  // namespace ckpt::crash
