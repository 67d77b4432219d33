// A catalog with a journal, and copies of both as a crash would leave them.
#pragma once

#include <functional>

#include "daemon/catalog/position.h"
#include "tests/testing/fake_clock.h"
#include "tests/testing/faulty_file_system.h"
#include "tests/unit/daemon/catalog/bytes.h"
#include "tests/unit/daemon/catalog/history.h"

namespace ckptd::catalog {

namespace fs = std::filesystem;

class JournalTest : public HistoryTest {
 protected:
  JournalTest() {
    data_ = folder_ + "/data";
    fs::create_directories(data_);
    Use(data_);
    options_.fs = &faulty_;
    options_.clock = &clock_;
  }
  // Goes on in another folder, which is not opened yet.
  void Use(const std::string& data) {
    path_ = data + "/catalog.sqlite";
    options_.journal_dir = data + "/packs/journal";
  }
  // As the power would leave it, were it cut now: a copy of everything.
  std::string Copy() {
    const std::string copy = folder_ + "/copy" + std::to_string(++copies_);
    fs::copy(fs::path(path_).parent_path(), copy, fs::copy_options::recursive);
    return copy;
  }
  void RemoveCatalog() {
    for (const char* suffix : {"", "-wal"}) fs::remove(path_ + suffix);
  }
  std::vector<std::string> JournalFiles() {
    std::vector<std::string> files;
    for (const auto& file : fs::directory_iterator(options_.journal_dir))
      files.push_back(file.path());
    std::sort(files.begin(), files.end());
    return files;
  }
  std::vector<std::string> Aside() {
    std::vector<std::string> files;
    for (const auto& file : fs::directory_iterator(fs::path(path_).parent_path())) {
      if (file.path().string().find(".damaged-") != std::string::npos) files.push_back(file.path());
    }
    return files;
  }
  // Opens what lies in a copy, does `look`, closes and goes back.
  void In(const std::string& copy, const std::function<void()>& look) {
    auto catalog = std::move(catalog_);
    Use(copy);
    look();
    catalog_ = std::move(catalog);
    Use(data_);
  }
  // Without what shows that a failure was made up for.
  static Dump Settled(Dump dump) {
    dump.erase("counters");
    dump.erase("position");
    return dump;
  }
  void RemoveCatalogAnd(const std::function<void()>& then) {
    catalog_.reset();
    RemoveCatalog();
    then();
  }
  uint64_t BackUp(const std::string& to) {
    std::string bytes;
    const uint64_t sequence =
        Get(catalog_->Backup([&](std::span<const std::byte> part) -> absl::Status {
          bytes.append(reinterpret_cast<const char*>(part.data()), part.size());
          return absl::OkStatus();
        }));
    Put(to, bytes);
    return sequence;
  }
  uint64_t Sequence() { return Get(ReadPosition(Read()->connection())).sequence; }
  // What the copy comes back as; its error.
  absl::StatusOr<Dump> Recovered(const std::string& copy) {
    absl::StatusOr<Dump> dump = absl::UnknownError("not opened");
    In(copy, [&] {
      absl::StatusOr<std::unique_ptr<Catalog>> catalog = Catalog::Open(path_, options_);
      if (!catalog.ok()) {
        dump = catalog.status();
        return;
      }
      catalog_ = *std::move(catalog);
      dump = DumpOf(Read()->connection());
      ExpectSound();
      catalog_.reset();
    });
    return dump;
  }

  os::FaultyFileSystem faulty_{real_.get()};
  os::FakeClock clock_;
  std::string data_;
  int copies_ = 0;

 private:
  static inline const std::unique_ptr<os::FileSystem> real_ = os::NewRealFileSystem();
};

}  // namespace ckptd::catalog
