#include "tests/crash/process_house.h"
#include "tests/testing/programs.h"

#include <sys/stat.h>

#include <filesystem>

#include "daemon/catalog/catalog.h"
#include "daemon/catalog/chunks.h"

namespace ckpt::crash {

namespace fs = std::filesystem;

testing::AssertionResult ProcessHouse::Start() {
  const testing::AssertionResult started = daemon_.Start();
  up_ = started;
  return started;
}

void ProcessHouse::Kill() {
  CountKill();
  daemon_.Stop(SIGKILL);
  up_ = false;
}

void ProcessHouse::KillStarting(absl::Duration delay) {
  test::Process starting(
      {test::kCkptd, "--data-dir", daemon_.data_dir(), "--listen", daemon_.address()},
      daemon_.output());
  absl::SleepFor(delay);
  CountKill();
  starting.KillAndWait(SIGKILL);
}

void ProcessHouse::Drain() {
  CountKill();
  if (proxy_) proxy_->CutAll();
  const test::Ended ended = daemon_.Stop(SIGTERM);
  EXPECT_EQ(ended, test::Ended{.code = 0});
  up_ = false;
}

void ProcessHouse::Stop() {
  CountKill();
  daemon_.Stop(SIGTERM);
  up_ = false;
}

void ProcessHouse::BreakLines(std::function<test::LineFault()> draw) {
  const std::string address = daemon_.address();
  proxy_.emplace(std::stoi(address.substr(address.rfind(':') + 1)));
  proxy_->SetFaults(std::move(draw), [this] { CountKill(); });
}

std::string ProcessHouse::Log() const {
  const std::string log = test::ReadFile(daemon_.output());
  return log.size() <= 4000 ? log : log.substr(log.size() - 4000);
}

House::Packs ProcessHouse::MeasurePacks() const {
  Packs packs;
  std::error_code error;
  for (const auto& file : fs::recursive_directory_iterator(daemon_.data_dir() + "/packs", error)) {
    if (file.path().extension() != ".pack") continue;
    struct stat found = {};
    if (stat(file.path().c_str(), &found) != 0 || !S_ISREG(found.st_mode)) continue;
    packs.bytes += static_cast<uint64_t>(found.st_blocks) * 512;
    ++packs.files;
  }
  return packs;
}

// Looks at a copy, so that the daemon finds what it left.
absl::Status ProcessHouse::CheckCatalog() {
  const ckptd::os::TempDir copy;
  for (const char* name : {"/catalog.sqlite", "/catalog.sqlite-wal"}) {
    std::error_code error;
    fs::copy_file(daemon_.data_dir() + name, copy.path() + name, error);
  }
  ASSIGN_OR_RETURN(auto catalog, ckptd::catalog::Catalog::Open(copy / "catalog.sqlite"));
  RETURN_IF_ERROR(catalog->Check());
  ASSIGN_OR_RETURN(auto txn, catalog->BeginRead());
  return ckptd::catalog::CheckReferences(*txn);
}

}  // namespace ckpt::crash
