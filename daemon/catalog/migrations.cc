#include "daemon/catalog/migrations.h"

#include <iterator>

namespace ckptd::catalog {

namespace {

// Never edit one that was released: add the next.
//
// Times are nanoseconds since the epoch, booleans 0 or 1. Unsigned 64-bit
// values are stored as the same bits. Messages are serialized ckpt.v1.
constexpr const char* kMigrations[] = {
    // 1: everything.
    R"sql(
-- Ids that must never come twice, whatever was deleted.
CREATE TABLE counters (
  name  TEXT PRIMARY KEY,
  value INTEGER NOT NULL           -- the last one given
) STRICT, WITHOUT ROWID;
INSERT INTO counters (name, value) VALUES ('checkpoint', 0), ('pack', 0);

-- A tenant. The figures are of its rows in chunks.
CREATE TABLE projects (
  id           INTEGER PRIMARY KEY,
  name         TEXT    NOT NULL UNIQUE,
  chunks       INTEGER NOT NULL DEFAULT 0,
  stored_bytes INTEGER NOT NULL DEFAULT 0
) STRICT;

-- A run's row outlives its deletion, so that attempt numbers go on counting.
CREATE TABLE runs (
  id                INTEGER PRIMARY KEY,
  project_id        INTEGER NOT NULL REFERENCES projects (id),
  name              TEXT    NOT NULL,
  created_at        INTEGER NOT NULL,
  newest_attempt    INTEGER NOT NULL DEFAULT 0,
  current_timeline  INTEGER NOT NULL DEFAULT 0,
  policy_version    INTEGER NOT NULL DEFAULT 0,   -- 0: never had one
  deleted           INTEGER NOT NULL DEFAULT 0,
  newest_checkpoint INTEGER NOT NULL DEFAULT 0,   -- id of the last commit
  checkpoints       INTEGER NOT NULL DEFAULT 0,   -- committed, not removed
  removed           INTEGER NOT NULL DEFAULT 0,
  bytes             INTEGER NOT NULL DEFAULT 0,   -- of those not removed
  UNIQUE (project_id, name)
) STRICT;

-- Every policy a run ever had; NULL: the daemon's default.
CREATE TABLE policies (
  run_id  INTEGER NOT NULL REFERENCES runs (id),
  version INTEGER NOT NULL,
  set_at  INTEGER NOT NULL,
  policy  BLOB,                                   -- v1.Policy
  PRIMARY KEY (run_id, version)
) STRICT, WITHOUT ROWID;

-- The state of a run at one step. Open while id is NULL; ids are given at
-- commit, in commit order.
CREATE TABLE checkpoints (
  row              INTEGER PRIMARY KEY AUTOINCREMENT,
  id               INTEGER UNIQUE,
  run_id           INTEGER NOT NULL REFERENCES runs (id),
  attempt          INTEGER NOT NULL,
  step             INTEGER NOT NULL,
  world_size       INTEGER NOT NULL,
  timeline         INTEGER,                       -- from commit
  opened_at        INTEGER NOT NULL,
  committed_at     INTEGER,
  bytes            INTEGER NOT NULL DEFAULT 0,    -- from commit
  stored_bytes     INTEGER NOT NULL DEFAULT 0,    -- from commit
  damage           TEXT    NOT NULL DEFAULT '',   -- empty: whole
  removed_at       INTEGER,
  removal          BLOB,                          -- v1.Verdict
  restorable_until INTEGER,
  reclaim_at       INTEGER,                       -- removed, its space not given back: from when
  reclaimed        INTEGER NOT NULL DEFAULT 0,
  UNIQUE (run_id, attempt, step),
  CHECK ((id IS NULL) = (committed_at IS NULL)),
  CHECK (id IS NOT NULL OR removed_at IS NULL)
) STRICT;
CREATE INDEX checkpoints_by_run ON checkpoints (run_id, id) WHERE id IS NOT NULL;
CREATE INDEX checkpoints_live ON checkpoints (run_id, id)
  WHERE id IS NOT NULL AND removed_at IS NULL;
CREATE INDEX checkpoints_by_step ON checkpoints (run_id, step, id) WHERE id IS NOT NULL;
CREATE INDEX checkpoints_reclaimable ON checkpoints (reclaim_at) WHERE reclaim_at IS NOT NULL;

-- A double's 64 bits, because SQLite turns NaN into NULL. NULL: announced, not
-- yet attached.
CREATE TABLE metrics (
  checkpoint_row INTEGER NOT NULL REFERENCES checkpoints (row) ON DELETE CASCADE,
  name           TEXT    NOT NULL,
  bits           INTEGER,
  PRIMARY KEY (checkpoint_row, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE labels (
  checkpoint_row INTEGER NOT NULL REFERENCES checkpoints (row) ON DELETE CASCADE,
  name           TEXT    NOT NULL,
  value          TEXT    NOT NULL,
  PRIMARY KEY (checkpoint_row, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE pins (
  checkpoint_row INTEGER NOT NULL REFERENCES checkpoints (row),
  name           TEXT    NOT NULL,
  pinned_at      INTEGER NOT NULL,
  PRIMARY KEY (checkpoint_row, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE aliases (
  run_id         INTEGER NOT NULL REFERENCES runs (id),
  name           TEXT    NOT NULL,
  checkpoint_row INTEGER NOT NULL REFERENCES checkpoints (row),
  set_at         INTEGER NOT NULL,
  PRIMARY KEY (run_id, name)
) STRICT, WITHOUT ROWID;
CREATE INDEX aliases_by_checkpoint ON aliases (checkpoint_row);

-- One incarnation of the job; number fences the lower ones. resumed_from, and
-- forked_from below, are no foreign keys: each commit would look through both
-- tables, and a committed checkpoint's row never goes away.
CREATE TABLE attempts (
  run_id           INTEGER NOT NULL REFERENCES runs (id),
  number           INTEGER NOT NULL,
  launch_id        TEXT    NOT NULL,
  world_size       INTEGER NOT NULL,
  opened_at        INTEGER NOT NULL,
  timeline         INTEGER NOT NULL DEFAULT 0,    -- 0: not decided yet
  resumed_from     INTEGER,                       -- checkpoints.id
  resumed_from_run INTEGER,                       -- of that checkpoint
  PRIMARY KEY (run_id, number)
) STRICT, WITHOUT ROWID;
CREATE INDEX attempts_by_launch ON attempts (run_id, launch_id, number);
-- Started from another run's checkpoint.
CREATE INDEX attempts_across_runs ON attempts (resumed_from_run, resumed_from)
  WHERE resumed_from_run <> run_id;

CREATE TABLE timelines (
  run_id          INTEGER NOT NULL REFERENCES runs (id),
  number          INTEGER NOT NULL,
  opened_at       INTEGER NOT NULL,
  reason          TEXT    NOT NULL,
  forked_from     INTEGER,                        -- checkpoints.id
  forked_from_run INTEGER,                        -- of that checkpoint
  PRIMARY KEY (run_id, number)
) STRICT, WITHOUT ROWID;
CREATE INDEX timelines_by_fork ON timelines (forked_from_run, forked_from)
  WHERE forked_from IS NOT NULL;

-- What one rank pushes. The row is the upload's id, so it never comes twice.
CREATE TABLE shards (
  row             INTEGER PRIMARY KEY AUTOINCREMENT,
  checkpoint_row  INTEGER NOT NULL REFERENCES checkpoints (row),
  rank            INTEGER NOT NULL,
  opened_at       INTEGER NOT NULL,
  durable         INTEGER NOT NULL DEFAULT 0,
  bytes           INTEGER NOT NULL,
  stored_bytes    INTEGER NOT NULL DEFAULT 0,     -- extents it added to the disk
  chunks          INTEGER NOT NULL,               -- different digests in the manifest
  manifest_digest BLOB    NOT NULL,
  UNIQUE (checkpoint_row, rank)
) STRICT;

-- Apart from shards, so that it can go when the space is given back.
CREATE TABLE manifests (
  shard_row INTEGER PRIMARY KEY REFERENCES shards (row) ON DELETE CASCADE,
  manifest  BLOB NOT NULL                         -- v1.Manifest
) STRICT;

-- shard_row: the upload that writes it; NULL once sealed or its upload is
-- gone. empty is set when the last chunk and the last reclaim of a sealed pack
-- went: a hint where to look, never the answer.
CREATE TABLE packs (
  id         INTEGER PRIMARY KEY,
  shard_row  INTEGER,
  sealed     INTEGER NOT NULL DEFAULT 0,
  empty      INTEGER NOT NULL DEFAULT 0,
  created_at INTEGER NOT NULL
) STRICT;
CREATE INDEX packs_open ON packs (shard_row, id) WHERE sealed = 0;
CREATE INDEX packs_empty ON packs (id) WHERE empty = 1;

-- Where a project's chunks lie.
CREATE TABLE chunks (
  row         INTEGER PRIMARY KEY,
  project_id  INTEGER NOT NULL REFERENCES projects (id),
  digest      BLOB    NOT NULL,
  pack        INTEGER NOT NULL REFERENCES packs (id),
  pack_offset INTEGER NOT NULL,
  extent      INTEGER NOT NULL,
  length      INTEGER NOT NULL,
  UNIQUE (project_id, digest)
) STRICT;
CREATE INDEX chunks_by_pack ON chunks (pack, pack_offset);

-- Liveness: a chunk lives while a row here names it.
CREATE TABLE shard_chunks (
  shard_row INTEGER NOT NULL REFERENCES shards (row),
  chunk_row INTEGER NOT NULL REFERENCES chunks (row),
  PRIMARY KEY (shard_row, chunk_row)
) STRICT, WITHOUT ROWID;
CREATE INDEX shard_chunks_by_chunk ON shard_chunks (chunk_row);

-- Extents on their way back to the file system. Nothing refers to them.
CREATE TABLE reclaims (
  row         INTEGER PRIMARY KEY AUTOINCREMENT,
  project_id  INTEGER NOT NULL REFERENCES projects (id),
  pack        INTEGER NOT NULL REFERENCES packs (id),
  pack_offset INTEGER NOT NULL,
  extent      INTEGER NOT NULL,
  length      INTEGER NOT NULL
) STRICT;
CREATE INDEX reclaims_by_pack ON reclaims (pack);

-- What an attempt was told to resume from.
CREATE TABLE tickets (
  id                INTEGER PRIMARY KEY AUTOINCREMENT,
  run_id            INTEGER NOT NULL REFERENCES runs (id),
  attempt           INTEGER NOT NULL,
  checkpoint_id     INTEGER NOT NULL,             -- 0: start from scratch
  checkpoint_run    INTEGER,                      -- whose it is; may be another run's
  newest_checkpoint INTEGER NOT NULL,             -- the run's, when it was given
  selector          TEXT    NOT NULL,
  outcome           INTEGER NOT NULL,             -- v1.ResumeResponse.Outcome
  explanation       TEXT    NOT NULL,
  world_size        INTEGER NOT NULL,
  opened_at         INTEGER NOT NULL,
  expires_at        INTEGER NOT NULL,
  complete          INTEGER NOT NULL DEFAULT 0,   -- all ranks have reported
  UNIQUE (run_id, attempt)
) STRICT;
CREATE INDEX tickets_open ON tickets (checkpoint_run, expires_at) WHERE complete = 0;
CREATE INDEX tickets_by_end ON tickets (expires_at) WHERE complete = 0;
CREATE INDEX tickets_by_checkpoint ON tickets (run_id, checkpoint_id, newest_checkpoint);

-- How loading went, one a rank.
CREATE TABLE reports (
  ticket_id   INTEGER NOT NULL REFERENCES tickets (id),
  rank        INTEGER NOT NULL,
  ok          INTEGER NOT NULL,
  error       TEXT    NOT NULL,
  reported_at INTEGER NOT NULL,
  PRIMARY KEY (ticket_id, rank)
) STRICT, WITHOUT ROWID;

-- The history of runs, also of what is gone.
CREATE TABLE events (
  id            INTEGER PRIMARY KEY AUTOINCREMENT,
  run_id        INTEGER NOT NULL REFERENCES runs (id),
  at            INTEGER NOT NULL,
  kind          INTEGER NOT NULL,                 -- v1.Event.Kind
  checkpoint_id INTEGER NOT NULL,                 -- 0: of the run
  step          INTEGER NOT NULL,
  text          TEXT    NOT NULL
) STRICT;
CREATE INDEX events_by_run ON events (run_id, id);
CREATE INDEX events_by_checkpoint ON events (run_id, checkpoint_id, id) WHERE checkpoint_id <> 0;
)sql",
    // 2: bytes that were found to be other than their digest says. The project
    // is taken to lack such a chunk until it comes again.
    R"sql(
ALTER TABLE chunks ADD COLUMN damaged INTEGER NOT NULL DEFAULT 0;
)sql",
    // 3: what calls answered, so that a call made again is told the same.
    R"sql(
CREATE TABLE answers (
  row         INTEGER PRIMARY KEY,
  request_id  TEXT    NOT NULL UNIQUE,            -- chosen by the client
  method      TEXT    NOT NULL,
  request     BLOB    NOT NULL,                   -- the message's digest
  answer      BLOB    NOT NULL,                   -- the response message
  answered_at INTEGER NOT NULL
) STRICT;
CREATE INDEX answers_by_age ON answers (answered_at);

ALTER TABLE reports ADD COLUMN at_fault INTEGER NOT NULL DEFAULT 0;  -- the checkpoint is
)sql",
    // 4: bytes at rest. Liveness: a chunk lives, too, while another's base names
    // it. A daemon that does not know encoded chunks refuses the catalog.
    R"sql(
-- Bytes of the payload; 0: as it came.
ALTER TABLE chunks ADD COLUMN encoded INTEGER NOT NULL DEFAULT 0;
ALTER TABLE chunks ADD COLUMN base INTEGER REFERENCES chunks (row);  -- that it is the difference to
ALTER TABLE chunks ADD COLUMN tried INTEGER NOT NULL DEFAULT 0;  -- encoding it did not pay
CREATE INDEX chunks_by_base ON chunks (base) WHERE base IS NOT NULL;
-- Its chunks were all looked at.
ALTER TABLE checkpoints ADD COLUMN packed INTEGER NOT NULL DEFAULT 0;
CREATE INDEX checkpoints_unpacked ON checkpoints (run_id, id)
  WHERE packed = 0 AND id IS NOT NULL AND removed_at IS NULL;
)sql",
    // 5: what a project's runs may take together.
    R"sql(
ALTER TABLE projects ADD COLUMN budget INTEGER;  -- bytes; 0: none; NULL: the daemon's default
)sql",
    // 6: the end of a ticket concerns the run whose checkpoint it holds, and is
    // found by tickets_open. From here on a checkpoint's space is given back in
    // several transactions: reclaimed is set in the first, reclaim_at cleared in
    // the last.
    R"sql(
DROP INDEX tickets_by_end;
)sql",
    // 7: what is known of damage on disk, and how far the scrub is. From here on
    // chunks.damaged tells what is damaged itself (1) from what is the difference
    // to something damaged (2); what was flagged before is read anew by the scrub.
    R"sql(
-- Scrubs in a row that an I/O error kept from reading it.
ALTER TABLE chunks ADD COLUMN unreadable INTEGER NOT NULL DEFAULT 0;
CREATE INDEX chunks_damaged ON chunks (project_id) WHERE damaged <> 0;
ALTER TABLE shards ADD COLUMN damaged INTEGER NOT NULL DEFAULT 0;  -- its manifest is
CREATE INDEX shards_damaged ON shards (checkpoint_row) WHERE damaged <> 0;
-- The damage is that of a chunk or a manifest, and ends with it.
ALTER TABLE checkpoints ADD COLUMN on_disk INTEGER NOT NULL DEFAULT 0;
CREATE INDEX checkpoints_damaged ON checkpoints (run_id) WHERE damage <> '';
UPDATE checkpoints SET on_disk = 1 WHERE damage <> '' AND EXISTS (
  SELECT 1 FROM shards AS s JOIN shard_chunks AS x ON x.shard_row = s.row
  JOIN chunks AS k ON k.row = x.chunk_row
  WHERE s.checkpoint_row = checkpoints.row AND k.damaged <> 0);

-- The pass under way or, once that is over, the last: one row.
CREATE TABLE scrub (
  id                INTEGER PRIMARY KEY CHECK (id = 1),
  under_way         INTEGER NOT NULL DEFAULT 0,
  asked             INTEGER NOT NULL DEFAULT 0,   -- by somebody, not by the time
  started_at        INTEGER,
  ended_at          INTEGER,                      -- of the last that ended
  -- Read are the manifests, and after them the packs, up to here; of those that
  -- there were when it began.
  shard_row         INTEGER NOT NULL DEFAULT 0,
  last_shard_row    INTEGER NOT NULL DEFAULT 0,
  pack              INTEGER NOT NULL DEFAULT 0,
  pack_offset       INTEGER NOT NULL DEFAULT 0,
  last_pack         INTEGER NOT NULL DEFAULT 0,
  -- What it has read, and found.
  bytes             INTEGER NOT NULL DEFAULT 0,
  chunks            INTEGER NOT NULL DEFAULT 0,
  manifests         INTEGER NOT NULL DEFAULT 0,
  packs             INTEGER NOT NULL DEFAULT 0,
  damaged_chunks    INTEGER NOT NULL DEFAULT 0,
  damaged_manifests INTEGER NOT NULL DEFAULT 0,
  damaged_packs     INTEGER NOT NULL DEFAULT 0,
  unreadable        INTEGER NOT NULL DEFAULT 0,
  healed            INTEGER NOT NULL DEFAULT 0
) STRICT;
INSERT INTO scrub (id) VALUES (1);
)sql",
    // 8: which catalog this is, and how far it is. From here on every page
    // carries a checksum.
    R"sql(
CREATE TABLE position (
  one      INTEGER PRIMARY KEY CHECK (one = 1),
  catalog  BLOB    NOT NULL,                      -- random
  sequence INTEGER NOT NULL,                      -- of the last transaction
  digest   BLOB    NOT NULL                       -- of its record, and so of all before
) STRICT;
INSERT INTO position (one, catalog, sequence, digest)
VALUES (1, randomblob(16), 0, randomblob(32));
)sql",
    // 9: who may call. Of a secret there is only what recognizes it.
    R"sql(
CREATE TABLE tokens (
  row          INTEGER PRIMARY KEY AUTOINCREMENT,
  id           TEXT    NOT NULL UNIQUE,
  name         TEXT    NOT NULL,
  project      TEXT    NOT NULL,                  -- a name, as it may have no run yet; empty: all
  role         INTEGER NOT NULL,                  -- v1.Role
  salt         BLOB    NOT NULL,
  hash         BLOB    NOT NULL,
  request_id   TEXT    UNIQUE,                    -- of the call that made it
  created_at   INTEGER NOT NULL,
  expires_at   INTEGER,
  last_used_at INTEGER,
  revoked_at   INTEGER,
  created_by   TEXT    NOT NULL                   -- a token's id; empty: none
) STRICT;
CREATE INDEX tokens_by_project ON tokens (project, row);
)sql",
    // 10: what a project may have at most. 0: no limit; NULL: the daemon's default.
    R"sql(
ALTER TABLE projects ADD COLUMN quota_bytes INTEGER;
ALTER TABLE projects ADD COLUMN quota_checkpoints INTEGER;
ALTER TABLE projects ADD COLUMN quota_uploads INTEGER;
)sql",
};

absl::StatusOr<int> VersionOf(Connection& connection) {
  ASSIGN_OR_RETURN(std::optional<int64_t> version, connection.Integer("PRAGMA user_version"));
  return static_cast<int>(version.value_or(0));
}

absl::Status Apply(Connection& connection, int version) {
  RETURN_IF_ERROR(connection.Run("BEGIN IMMEDIATE"));
  absl::Status status = connection.Script(kMigrations[version - 1]);
  // A pragma takes no bound value.
  if (status.ok()) status = connection.Script(fmt::format("PRAGMA user_version = {}", version));
  if (status.ok()) status = connection.Run("COMMIT");
  if (status.ok()) return status;
  // The first error is the one to tell; closing the file rolls back as well.
  (void)connection.Script("ROLLBACK");
  return ckpt::Annotate(status, fmt::format("Migrating to schema {} failed", version));
}

}  // namespace

int SchemaVersion() { return static_cast<int>(std::size(kMigrations)); }

absl::Status Migrate(Connection& connection, int version) {
  ASSIGN_OR_RETURN(const int current, VersionOf(connection));
  if (current > SchemaVersion()) {
    return ckpt::MakeError(
        absl::StatusCode::kFailedPrecondition, ckpt::reason::kVersionTooNew,
        fmt::format("The catalog has schema version {}, but this daemon knows only up to {}: run "
                    "the newer daemon that wrote it.",
                    current, SchemaVersion()));
  }
  for (int next = current + 1; next <= version; ++next) {
    RETURN_IF_ERROR(Apply(connection, next));
  }
  return absl::OkStatus();
}

}  // namespace ckptd::catalog
