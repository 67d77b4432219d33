#include "daemon/catalog/catalog.h"

#include <atomic>
#include <functional>
#include <utility>
#include <vector>

#include <absl/synchronization/mutex.h>

#include "daemon/catalog/migrations.h"
#include "daemon/catalog/opening.h"
#include "daemon/catalog/sqlite.h"

namespace ckptd::catalog {

namespace {
// Idle readers kept open; more are opened while they are needed.
constexpr size_t kIdleReaders = 8;
}  // namespace

class ReadTxn::Impl {
 public:
  // Gives the connection back, out of its transaction. At most once.
  std::function<void()> finish;
  // Says that what was to be committed may still be found after a crash.
  std::function<void()> doubt;
};

ReadTxn::~ReadTxn() {
  if (impl_ != nullptr && impl_->finish) impl_->finish();
}

WriteTxn::~WriteTxn() = default;

absl::Status WriteTxn::Commit() {
  if (connection_ == nullptr) {
    return ckpt::MakeError(absl::StatusCode::kInternal, ckpt::reason::kInternal,
                           "A transaction was committed twice.");
  }
  const absl::Status status = connection_->Run("COMMIT");
  // Where the disk is full its last frame was not written, which alone makes it one.
  if (!status.ok() && ckpt::ReasonOf(status) != ckpt::reason::kNoSpace) impl_->doubt();
  // Rolls back what could not be committed, and lets the next writer in.
  std::exchange(impl_->finish, nullptr)();
  connection_ = nullptr;
  return status;
}

class Catalog::Impl {
 public:
  Impl(std::string path, CatalogOptions options)
      : path_(std::move(path)), options_(std::move(options)) {}

  absl::Status Open() {
    ASSIGN_OR_RETURN(writer_, OpenWhole(path_, options_.base_vfs));
    RETURN_IF_ERROR(Migrate(*writer_));
    // Work space of the release of chunks.
    return writer_->Script("CREATE TEMP TABLE released (chunk_row INTEGER PRIMARY KEY) STRICT");
  }

  absl::StatusOr<std::unique_ptr<ReadTxn>> BeginRead() {
    if (in_doubt_) {
      absl::MutexLock lock(&writer_mutex_);
      RETURN_IF_ERROR(Settle());
    }
    ASSIGN_OR_RETURN(std::unique_ptr<Connection> reader, TakeReader());
    RETURN_IF_ERROR(reader->Run("BEGIN"));
    // The snapshot is taken by the first read.
    if (auto read = reader->Integer("SELECT value FROM counters WHERE name = 'pack'"); !read.ok()) {
      return read.status();
    }
    auto txn = std::make_unique<ReadTxn>();
    txn->connection_ = reader.get();
    txn->impl_ = std::make_unique<ReadTxn::Impl>();
    txn->impl_->finish = [this, reader = std::make_shared<std::unique_ptr<Connection>>(
                                    std::move(reader))] { GiveReader(std::move(*reader)); };
    return txn;
  }

  absl::StatusOr<std::unique_ptr<WriteTxn>> BeginWrite() {
    writer_mutex_.Lock();
    absl::Status status = Settle();
    if (status.ok()) status = writer_->Run("BEGIN IMMEDIATE");
    if (!status.ok()) {
      writer_mutex_.Unlock();
      return status;
    }
    auto txn = std::make_unique<WriteTxn>();
    ReadTxn& base = *txn;
    base.connection_ = writer_.get();
    base.impl_ = std::make_unique<ReadTxn::Impl>();
    base.impl_->finish = [this] {
      // Fails when there is nothing left to roll back, which is as good.
      (void)writer_->Script("ROLLBACK");
      writer_mutex_.Unlock();
    };
    base.impl_->doubt = [this] { in_doubt_ = true; };
    return txn;
  }

 private:
  // A commit whose sync failed has its frames in the log all the same, and a
  // restart would take them for committed, although its caller, and whoever read
  // since, was told otherwise. So nobody is told anything before another
  // transaction lies durably in their place.
  absl::Status Settle() ABSL_EXCLUSIVE_LOCKS_REQUIRED(writer_mutex_) {
    if (!in_doubt_) return absl::OkStatus();
    absl::Status status = writer_->Run("BEGIN IMMEDIATE");
    if (status.ok()) {
      // One that changes a page: an update to the same value writes nothing.
      status = writer_->Run(
          "INSERT INTO counters (name, value) VALUES ('settled', 1) "
          "ON CONFLICT (name) DO UPDATE SET value = value + 1");
    }
    if (status.ok()) status = writer_->Run("COMMIT");
    if (status.ok()) {
      in_doubt_ = false;
      return status;
    }
    (void)writer_->Script("ROLLBACK");  // the first error is the one to tell
    return ckpt::Annotate(status, "A change that failed cannot be taken back yet");
  }

  absl::StatusOr<std::unique_ptr<Connection>> TakeReader() {
    {
      absl::MutexLock lock(&readers_mutex_);
      if (!readers_.empty()) {
        std::unique_ptr<Connection> reader = std::move(readers_.back());
        readers_.pop_back();
        return reader;
      }
    }
    return Connection::Open(path_, Connection::Mode::kReader, options_.base_vfs);
  }

  void GiveReader(std::unique_ptr<Connection> reader) {
    if (!reader->Run("ROLLBACK").ok()) return;
    absl::MutexLock lock(&readers_mutex_);
    if (readers_.size() < kIdleReaders) readers_.push_back(std::move(reader));
  }

  const std::string path_;
  const CatalogOptions options_;
  absl::Mutex writer_mutex_;  // held from BeginWrite to the end of the transaction
  std::unique_ptr<Connection> writer_;
  std::atomic<bool> in_doubt_ = false;  // changed under writer_mutex_
  absl::Mutex readers_mutex_;
  std::vector<std::unique_ptr<Connection>> readers_;
};

Catalog::Catalog() = default;
Catalog::~Catalog() = default;

absl::StatusOr<std::unique_ptr<Catalog>> Catalog::Open(const std::string& path,
                                                       const CatalogOptions& options) {
  std::unique_ptr<Catalog> catalog(new Catalog());
  catalog->impl_ = std::make_unique<Impl>(path, options);
  RETURN_IF_ERROR(catalog->impl_->Open());
  return catalog;
}

absl::StatusOr<std::unique_ptr<ReadTxn>> Catalog::BeginRead() { return impl_->BeginRead(); }
absl::StatusOr<std::unique_ptr<WriteTxn>> Catalog::BeginWrite() { return impl_->BeginWrite(); }

absl::Status Catalog::Check() {
  const auto damaged = [](const std::string& what) {
    return ckpt::MakeError(
        absl::StatusCode::kDataLoss, ckpt::reason::kCatalogDamaged,
        fmt::format("The catalog is damaged: {}. Restore it from a backup.", what));
  };
  ASSIGN_OR_RETURN(std::unique_ptr<ReadTxn> txn, BeginRead());
  ASSIGN_OR_RETURN(Statement integrity, txn->connection().Query("PRAGMA integrity_check(1)"));
  while (integrity.Next()) {
    if (integrity.View(0) != "ok") return damaged(integrity.Text(0));
  }
  RETURN_IF_ERROR(integrity.status());
  ASSIGN_OR_RETURN(Statement keys, txn->connection().Query("PRAGMA foreign_key_check"));
  if (keys.Next()) {
    return damaged(fmt::format("a row of {} refers to a row of {} that is not there", keys.Text(0),
                               keys.Text(2)));
  }
  return keys.status();
}

}  // namespace ckptd::catalog
