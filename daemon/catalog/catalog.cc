#include "daemon/catalog/catalog.h"

#include <atomic>
#include <functional>
#include <utility>
#include <vector>

#include <absl/synchronization/mutex.h>
#include <spdlog/spdlog.h>

#include "daemon/catalog/changes.h"
#include "daemon/catalog/journal.h"
#include "daemon/catalog/journal_reader.h"
#include "daemon/catalog/migrations.h"
#include "daemon/catalog/opening.h"
#include "daemon/catalog/position.h"
#include "daemon/catalog/rebuild.h"
#include "daemon/catalog/snapshot_file.h"
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
  // Of a writer: makes what it changed last.
  std::function<absl::Status()> commit;
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
  const absl::Status status = impl_->commit();
  // Rolls back what could not be committed, and lets the next writer in.
  std::exchange(impl_->finish, nullptr)();
  connection_ = nullptr;
  return status;
}

class Catalog::Impl {
 public:
  Impl(std::string path, CatalogOptions options)
      : path_(std::move(path)), options_(std::move(options)) {}

  ~Impl() {
    absl::MutexLock lock(&writer_mutex_);
    if (writer_ != nullptr) (void)Settle();
  }

  absl::Status Open() {
    if (options_.fs == nullptr) {
      ASSIGN_OR_RETURN(writer_, OpenWhole(path_, options_.base_vfs));
      RETURN_IF_ERROR(Migrate(*writer_));
    } else {
      ASSIGN_OR_RETURN(const auto found, JournalReader::Open(options_.fs, options_.journal_dir,
                                                             options_.backup));
      ASSIGN_OR_RETURN(Opened opened, OpenOrRebuild(path_, options_, *found));
      gave_up_ = options_.rebuild && !found->lost_text().empty();
      writer_ = std::move(opened.db);
      RETURN_IF_ERROR(Migrate(*writer_));
      // So that the schema does not go with the log: without it the file is an
      // older copy, and not from before there was a journal.
      RETURN_IF_ERROR(writer_->Script("PRAGMA wal_checkpoint(TRUNCATE)"));
      ASSIGN_OR_RETURN(journal_, Journal::Start(options_, *found, opened.repaired, *writer_));
    }
    writer_->OnDamage([this](const absl::Status& status) { Damaged(status); });
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
    if (status.ok()) status = Begin();
    if (!status.ok()) {
      RollBack();
      writer_mutex_.Unlock();
      return status;
    }
    auto txn = std::make_unique<WriteTxn>();
    ReadTxn& base = *txn;
    base.connection_ = writer_.get();
    base.impl_ = std::make_unique<ReadTxn::Impl>();
    base.impl_->commit = [this, before = writer_->total_changes()] {
      const absl::Status committed = Commit(before);
      if (!in_doubt_) return committed;
      RollBack();
      // While nobody knows of it; otherwise before anybody is told anything more.
      if (Settle().ok()) return committed;
      return ckpt::Annotate(committed,
                            "Whether this change holds is known once the disk takes writes again; "
                            "ask again then");
    };
    base.impl_->finish = [this] {
      RollBack();
      writer_mutex_.Unlock();
    };
    return txn;
  }

  absl::StatusOr<uint64_t> Backup(const ByteSink& sink) {
    ASSIGN_OR_RETURN(const auto txn, BeginRead());
    Connection& db = txn->connection();
    ASSIGN_OR_RETURN(const Position position, ReadPosition(db));
    RETURN_IF_ERROR(
        WriteSnapshotFile(db, {static_cast<uint32_t>(SchemaVersion()), position}, sink));
    return position.sequence;
  }

  bool gave_up() const { return gave_up_; }

  absl::Status KeepJournal() {
    if (journal_ == nullptr || !journal_->IsDue()) return absl::OkStatus();
    std::unique_ptr<ReadTxn> snapshot;
    Journal::Generation generation;
    {
      absl::MutexLock lock(&writer_mutex_);
      RETURN_IF_ERROR(Settle());
      ASSIGN_OR_RETURN(generation, journal_->Begin());
      ASSIGN_OR_RETURN(snapshot, BeginRead());
    }
    return journal_->Finish(generation, snapshot->connection());
  }

 private:
  // A commit that failed may be found after a crash all the same: its frames are
  // in the log and its record in the journal, synced or not. Its caller, and
  // whoever would read now, are told otherwise. So nobody is told anything before
  // another transaction lies durably in its place.
  absl::Status Settle() ABSL_EXCLUSIVE_LOCKS_REQUIRED(writer_mutex_) {
    if (!in_doubt_) return absl::OkStatus();
    absl::Status status = Begin();
    const int64_t before = writer_->total_changes();
    if (status.ok()) {
      // One that changes a page: an update to the same value writes nothing.
      status = writer_->Run(
          "INSERT INTO counters (name, value) VALUES ('settled', 1) "
          "ON CONFLICT (name) DO UPDATE SET value = value + 1");
    }
    if (status.ok()) status = Commit(before);
    in_doubt_ = !status.ok();
    RollBack();
    return ckpt::Annotate(status, "A change that failed cannot be taken back yet");
  }

  absl::Status Begin() {
    if (journal_ != nullptr) RETURN_IF_ERROR(journal_->GetReady());
    RETURN_IF_ERROR(writer_->Run("BEGIN IMMEDIATE"));
    if (journal_ == nullptr) return absl::OkStatus();
    ASSIGN_OR_RETURN(changes_, Changes::Begin(*writer_));
    return absl::OkStatus();
  }

  void RollBack() {
    changes_.reset();
    // Fails when there is nothing left to roll back, which is as good.
    (void)writer_->Script("ROLLBACK");
  }

  absl::Status Commit(int64_t changes_before) {
    if (journal_ == nullptr) {
      if (writer_->total_changes() != changes_before) RETURN_IF_ERROR(LeaveJournal(*writer_));
    } else if (absl::Status status = journal_->Record(*writer_, *changes_); !status.ok()) {
      if (!journal_->certain()) in_doubt_ = true;
      return status;
    }
    const absl::Status status = writer_->Run("COMMIT");
    if (journal_ != nullptr) journal_->Ended(status.ok());
    if (!status.ok()) {
      // Where the disk is full its last frame was not written, which alone makes it one.
      in_doubt_ = ckpt::ReasonOf(status) != ckpt::reason::kNoSpace ||
                  (journal_ != nullptr && !journal_->certain());
    }
    return status;
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
    absl::StatusOr<std::unique_ptr<Connection>> opened =
        Connection::Open(path_, Connection::Mode::kReader, options_.base_vfs);
    if (ckpt::HasReason(opened.status(), ckpt::reason::kCatalogDamaged)) Damaged(opened.status());
    RETURN_IF_ERROR(opened.status());
    std::unique_ptr<Connection> reader = *std::move(opened);
    reader->OnDamage([this](const absl::Status& status) { Damaged(status); });
    return reader;
  }

  void Damaged(const absl::Status& status) {
    if (options_.fs == nullptr || damaged_.exchange(true)) return;
    const std::string text(status.message());
    spdlog::critical("{}", text);
    // The next start may find every checksum right.
    if (const absl::Status noted = options_.fs->ReplaceFile(SuspectPath(path_), text + "\n");
        !noted.ok()) {
      spdlog::error("{}", std::string(noted.message()));
    }
    if (options_.on_damage) options_.on_damage();
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
  bool gave_up_ = false;
  std::atomic<bool> in_doubt_ = false;  // changed under writer_mutex_
  std::unique_ptr<Journal> journal_;  // nullptr: there is none
  std::unique_ptr<Changes> changes_;  // of the transaction under way
  std::atomic<bool> damaged_ = false;
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

absl::StatusOr<uint64_t> Catalog::Backup(
    const std::function<absl::Status(std::span<const std::byte>)>& sink) {
  return impl_->Backup(sink);
}

absl::Status Catalog::KeepJournal() { return impl_->KeepJournal(); }

bool Catalog::gave_up() const { return impl_->gave_up(); }

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
