// No query may read a table from end to end: with a million checkpoints that
// is the difference between a microsecond and a second.
#include <regex>

#include "daemon/catalog/answers.h"
#include "daemon/catalog/encoding.h"
#include "daemon/catalog/projects.h"
#include "daemon/catalog/scrub.h"
#include "daemon/catalog/tokens.h"
#include "tests/unit/daemon/catalog/fixture.h"

namespace ckptd::catalog {
namespace {

class PlansTest : public CatalogTest {
 protected:
  // Calls everything once, so that every statement is prepared.
  void CallEverything() {
    const RunRow run = MakeRun("a");
    const uint64_t first = Push(run, {.step = 1, .seeds = {1, 2}, .metrics = {{"loss", 1}}});
    const uint64_t second = Push(run, {.step = 2, .seeds = {2}});
    txn_ = Write();
    WriteTxn& txn = *txn_;
    const UploadRow upload = Open(txn, run, {.step = 3, .seeds = {1, 7}});
    Store(txn, run, upload.shard_row, {1, 7});
    const PackId pack = Get(StartPack(txn, upload.shard_row, now_));
    Get(ListOpenUploads(txn));
    Get(ListOpenPacks(txn));
    Get(CountDurable(txn, upload.checkpoint_row));
    Do(SealPack(txn, pack));
    Do(DropUpload(txn, upload.shard_row));
    Get(ListEmptyPacks(txn));
    Do(DeletePack(txn, pack));
    Get(FinishShard(txn, Open(txn, run, {.step = 4}).shard_row, 1, now_));

    Get(FindRunById(txn, run.id));
    for (const char* project : {"", "default"}) {
      Get(ListRuns(txn, project, "a", ckpt::RunName{"default", "a"}, 9));
    }
    Get(SetRunPolicy(txn, run.id, std::nullopt, now_));
    Get(FindAttempt(txn, run.id, 1));
    Get(FindAttemptByLaunch(txn, run.id, "a"));
    Do(SetAttemptResumedFrom(txn, run.id, 1, first));
    Do(SetAttemptTimeline(txn, run.id, 1, 1));
    Get(ListTimelines(txn, run.id));
    Get(ListForks(txn, run.id));
    Get(ListRunIds(txn));
    Get(FindUpload(txn, run.id, 1, 1, 0));

    Get(FindProject(txn, "default"));
    Get(FindProjectById(txn, run.project_id));
    Do(SetProjectBudget(txn, run.project_id, 1));
    Get(ListRunBytes(txn, run.project_id));
    Get(ListRemovedHolding(txn, run.project_id));
    Do(SetProjectQuota(txn, Get(CreateProject(txn, "new"))));
    Get(GetProjectUse(txn, run.project_id));

    TokenRow token;
    token.token.id = "t";
    Do(InsertToken(txn, token, "call"));
    Get(FindToken(txn, "t"));
    Get(FindTokenByRequest(txn, "call"));
    Do(SetTokenSecret(txn, 1, "salt", "hash"));
    Do(SetTokenUsed(txn, "t", now_));
    Do(MarkTokenRevoked(txn, 1, now_));
    Get(ListTokens(txn, {.now = now_}));
    Get(ListTokens(txn, {.project = "p", .now = now_}));

    for (const bool removed : {false, true}) {
      Get(ListCheckpoints(txn, run.id, {.include_removed = removed}));
    }
    Get(FindCheckpoint(txn, first));
    Get(FindByStep(txn, run.id, 1, 1, false));
    Get(ListByStep(txn, run.id, 1));
    Get(FindByAlias(txn, run.id, "x"));
    Get(GetRunFigures(txn, run.id));
    Do(SetDamage(txn, first, ""));
    Do(SetMetrics(txn, first, {{"loss", 2}}));
    Do(AddPin(txn, first, "x", now_));
    Get(RemovePin(txn, first, "x"));
    Get(SetAlias(txn, run.id, "x", first, now_));
    Get(RemoveAlias(txn, run.id, "x"));
    Get(ListReferenced(txn, run.id));
    Get(FindManifest(txn, first, 0));
    Get(FindChunks(txn, run.project_id, {DigestOf(1)}));
    Get(FindLengths(txn, run.project_id, {DigestOf(1)}));
    Get(CheckpointChunks(txn, first, 0));
    Get(FreedBy(txn, {first}));
    Get(ListUsers(txn, run.project_id, DigestOf(1)));
    Get(NewScrub(txn, now_));
    Do(SetScrub(txn, {}));
    Get(IsStillThere(txn, Get(ListToScrub(txn, 0, 0, 99, 9))[0]));
    Get(HoldsChunks(txn, 1));
    Get(NextManifest(txn, 0, 99));
    Get(FindDamagedManifest(txn, first));
    Get(ListUnpacked(txn, run.id));
    Do(MarkPacked(txn, first));
    Get(ListToEncode(txn, first, 0));
    const auto chunk = *Get(FindChunkRow(txn, run.project_id, DigestOf(1)));
    const auto base = *Get(FindChunkRow(txn, run.project_id, DigestOf(2)));
    Do(MarkTried(txn, chunk));
    const PackId own = Get(StartOwnPack(txn, now_));
    EXPECT_TRUE(Get(MoveChunk(txn, run.project_id, chunk, {own, 4096, 4096, kLength, 50}, base,
                              {first, second})));
    Get(CheckpointChunks(txn, first, 0));
    Do(MarkChunkDamaged(txn, run.project_id, DigestOf(1)));
    Get(CountDamagedChunksOf(txn, run.project_id));
    Get(CountDamagedChunks(txn));
    Get(CountDamaged(txn, run.project_id, run.id));
    Do(SetDamageOnDisk(txn, first, "x"));
    Do(MarkManifest(txn, first, 0, true));
    Get(ListHealed(txn));
    EXPECT_EQ(Get(ListDamagedChunks(txn, first)).size(), 1u);
    Do(MarkChainWhole(txn, run.project_id, DigestOf(1)));
    Do(SetUnreadable(txn, 1, 1));
    Get(DropDamagedReferences(txn, run.project_id, 1));
    EXPECT_TRUE(Get(HealManifests(txn, ManifestOf({1, 2}))));
    Do(MarkManifestsWhole(txn, first));
    Do(SetDamage(txn, first, ""));
    Do(MarkRemoved(txn, first, {}, now_, std::nullopt));
    Do(MarkRestored(txn, first));
    Do(MarkRemoved(txn, first, {}, now_, std::nullopt));
    Get(ListReclaimable(txn, now_));
    Get(NextReclaimable(txn, now_));
    EXPECT_TRUE(Get(ReleaseCheckpoint(txn, first, 9)));
    Do(DeleteReclaims(txn, {Get(ListReclaims(txn, 1))[0].row}));
    Get(GetFigures(txn, std::nullopt, run.id));
    Get(GetFigures(txn, run.project_id, std::nullopt));

    TicketRow ticket;
    ticket.run_id = run.id;
    ticket.attempt = 1;
    ticket.checkpoint_id = second;
    const int64_t ticket_id = Get(InsertTicket(txn, ticket)).id;
    Get(FindTicket(txn, ticket_id));
    Get(FindTicketOfAttempt(txn, run.id, 1));
    Do(ExtendTicket(txn, ticket_id, now_));
    Get(OtherRankLoaded(txn, ticket_id, 0));
    Get(InsertReport(txn, ticket_id, 0, true, "", false, now_));
    Get(ListTicketed(txn, run.id, now_));
    Get(NextTicketEnd(txn, run.id, now_));
    Get(CountFruitlessResumes(txn, run.id, second));
    Do(DeleteTicket(txn, ticket_id));
    Do(InsertEvent(txn, run.id, {}));
    Do(InsertAnswer(txn, {"id", "Pin", {}}, "", now_));
    Get(FindAnswer(txn, {"id", "Pin", {}}));
    Get(OldestAnswer(txn));
    Get(DeleteAnswers(txn, now_, 9));
    for (const uint64_t id : {uint64_t{0}, second}) Get(ListEvents(txn, run.id, id, 0, 9));
    Do(MarkRunDeleted(txn, run.id));
  }

  // The plan of a statement, its steps joined by " | ".
  std::string Explain(const std::string& sql) {
    std::string plan;
    Statement rows = Get(txn_->connection().Query("EXPLAIN QUERY PLAN " + sql));
    while (rows.Next()) plan += (plan.empty() ? "" : " | ") + rows.Text(3);
    Do(rows.status());
    return plan;
  }

  std::unique_ptr<WriteTxn> txn_;
};

TEST_F(PlansTest, NoStatementScansATable) {
  CallEverything();
  // Scanned on purpose: what is small, what a partial index has cut down to the
  // few rows in question, and the list of all packs.
  const std::regex allowed(
      "SCAN (temp\\.released|r|u|\\d+ CONSTANT ROWS?|CONSTANT ROW)"
      "|SCAN \\w+ USING (COVERING )?INDEX (packs_open|packs_empty)"
      "|SCAN \\w+ USING (COVERING )?INDEX (chunks|shards|checkpoints)_damaged"
      "|SCAN scrub"  // one row
      "|SCAN packs"  // ListPacks, on start
      "|SCAN runs"   // ListRunIds, on start
      "|SCAN reclaims"  // what waits to be given back, added up
      "|SCAN j VIRTUAL TABLE INDEX 1:"  // the list that was bound
      "|SCAN q"      // ListReclaims: the queue, in order, limited
      "|SCAN p USING INDEX sqlite_autoindex_projects_1");
  int statements = 0;
  for (const std::string& sql : txn_->connection().PreparedTexts()) {
    if (sql.find("SELECT") == sql.npos && sql.find("UPDATE") == sql.npos &&
        sql.find("DELETE") == sql.npos) {
      continue;
    }
    ++statements;
    SCOPED_TRACE(sql);
    const std::string plan = Explain(sql);
    for (size_t at = plan.find("SCAN "); at != plan.npos; at = plan.find("SCAN ", at + 1)) {
      const std::string step = plan.substr(at, plan.find(" | ", at) - at);
      EXPECT_TRUE(std::regex_match(step, allowed)) << step << "\nin: " << plan;
    }
    EXPECT_EQ(plan.find("AUTOMATIC"), plan.npos) << plan;
  }
  EXPECT_GT(statements, 60);
}

TEST_F(PlansTest, EachHotQueryUsesItsIndex) {
  CallEverything();
  struct Case {
    std::string what;
    std::vector<std::string> words;  // that only this statement's text has together
    std::string index;
  };
  const std::string list = "ORDER BY c.id DESC LIMIT ?7";
  for (const Case& c : std::vector<Case>{
           {"list live",
            {list, "c.removed_at IS NULL\n"},
            "checkpoints_live (run_id=? AND id>? AND id<?)"},
           {"list all",
            {list, "c.id IS NOT NULL\n"},
            "checkpoints_by_run (run_id=? AND id>? AND id<?)"},
           {"by id", {"WHERE c.id = ?1", "c.removal\n"}, "autoindex_checkpoints_1 (id=?)"},
           {"by step", {"c.step = ?2 AND c.id IS NOT NULL"}, "checkpoints_by_step"},
           {"metrics of a list", {"json_each(?1)", "metrics"}, "PRIMARY KEY (checkpoint_row=?)"},
           {"labels of a list", {"json_each(?1)", "labels"}, "PRIMARY KEY (checkpoint_row=?)"},
           {"pins of a list", {"json_each(?1)", "pins"}, "PRIMARY KEY (checkpoint_row=?)"},
           {"aliases of a list",
            {"json_each(?1)", "aliases"},
            "COVERING INDEX aliases_by_checkpoint (checkpoint_row=?)"},
           {"forks", {"c.id = t.forked_from"}, "checkpoints_by_run (run_id=? AND id=?)"},
           {"reclaimable", {"reclaim_at <= ?1"}, "checkpoints_reclaimable (reclaim_at"},
           {"removed and holding", {"c.reclaim_at >= ?2"}, "checkpoints_reclaimable (reclaim_at"},
           {"what runs take", {"checkpoints > 0"}, "autoindex_runs_1 (project_id=?)"},
           {"next reclaimable", {"MIN(reclaim_at)"}, "checkpoints_reclaimable (reclaim_at>?)"},
           {"open uploads",
            {"WHERE c.id IS NULL ORDER BY s.row"},
            "autoindex_checkpoints_1 (id=?)"},
           {"an upload", {"c.attempt = ?2", "s.rank = ?4"}, "autoindex_checkpoints_2"},
           {"a chunk",
            {"project_id = ?1 AND digest = ?2"},
            "autoindex_chunks_1 (project_id=? AND digest=?)"},
           {"liveness",
            {"DELETE FROM temp.released WHERE EXISTS"},
            "shard_chunks_by_chunk (chunk_row=?)"},
           {"a shard's chunks", {"SELECT c.digest"}, "PRIMARY KEY (shard_row=?)"},
           {"timelines that refer", {"t.forked_from_run = ?1"}, "timelines_by_fork"},
           {"runs that refer", {"a.resumed_from_run = ?1"}, "attempts_across_runs"},
           {"leases",
            {"SELECT DISTINCT checkpoint_id FROM tickets"},
            "tickets_open (checkpoint_run=? AND expires_at>?)"},
           {"next lease's end",
            {"MIN(expires_at)"},
            "tickets_open (checkpoint_run=? AND expires_at>?)"},
           {"a part of a shard's references",
            {"DELETE FROM shard_chunks", "temp.released"},
            "shard_chunks_by_chunk (chunk_row=? AND shard_row=?)"},
           {"runs of a project, counted",
            {"SELECT (SELECT COUNT(*) FROM runs WHERE project_id"},
            "autoindex_runs_1 (project_id=?)"},
           {"open uploads, counted",
            {"c.id IS NULL AND r.project_id = ?1"},
            "autoindex_checkpoints_1 (id=?)"},
           {"fruitless", {"newest_checkpoint = (SELECT"}, "tickets_by_checkpoint"},
           {"a run's history", {"FROM events", "?2 = 0"}, "events_by_run (run_id=? AND"},
           {"a checkpoint's history",
            {"FROM events", "checkpoint_id = ?2"},
            "events_by_checkpoint (run_id=? AND checkpoint_id=? AND"},
           {"an answer",
            {"FROM answers WHERE request_id = ?1"},
            "autoindex_answers_1 (request_id=?)"},
           {"a token", {"FROM tokens\nWHERE id = ?1"}, "autoindex_tokens_1 (id=?)"},
           {"a call's token",
            {"FROM tokens\nWHERE request_id = ?1"},
            "autoindex_tokens_2 (request_id=?)"},
           {"a project's tokens",
            {"FROM tokens\nWHERE row < ?2 AND project = ?5"},
            "tokens_by_project (project=? AND row<?)"},
           {"what takes places",
            {"c.attempt = r.newest_attempt"},
            "autoindex_checkpoints_1 (id=?)"},
           {"old answers", {"DELETE FROM answers"}, "answers_by_age (answered_at<?)"},
           {"the oldest answer", {"MIN(answered_at)"}, "answers_by_age"},
           {"what could be encoded", {"k.tried = 0"}, "PRIMARY KEY (shard_row=?)"},
           {"unpacked", {"c.packed = 0"}, "checkpoints_unpacked (run_id=? AND id>?)"},
           {"differences", {"SELECT row FROM chunks WHERE base = ?1"}, "chunks_by_base (base=?)"},
           {"what to scrub", {"(c.pack, c.pack_offset) > (?1, ?2)"}, "chunks_by_pack ("},
           {"a manifest to scrub", {"m.shard_row > ?1"}, "m USING INTEGER PRIMARY KEY (rowid>?"},
           {"damaged chunks of a checkpoint",
            {"c.id = ?1 AND k.damaged <> 0"},
            "k USING INDEX chunks_damaged (project_id=?)"},
           {"any damage",
            {"SELECT COUNT(*)", "project_id = ?1 AND damaged <> 0"},
            "chunks_damaged (project_id=?)"},
           {"flagged checkpoints", {"c.on_disk = 1"}, "checkpoints_damaged"},
           {"flagged checkpoints, counted", {"?2 IS NULL OR r.id = ?2"}, "checkpoints_damaged"},
           {"lost manifests", {"UPDATE manifests SET manifest"}, "shards_damaged"},
           {"differences of a damaged one",
            {"UPDATE chunks SET damaged = 2"},
            "chunks_by_base (base=?)"},
           {"open packs", {"FROM packs WHERE sealed = 0"}, "packs_open"},
           {"empty packs", {"p.empty = 1 AND p.sealed = 1"}, "packs_empty"},
           {"runs of a project",
            {"WHERE p.name = ?1 AND r.name >= ?2"},
            "autoindex_runs_1 (project_id=? AND name>? AND name<?)"},
       }) {
    SCOPED_TRACE(c.what);
    int found = 0;
    for (const std::string& sql : txn_->connection().PreparedTexts()) {
      if (sql.starts_with("EXPLAIN")) continue;
      if (!std::all_of(c.words.begin(), c.words.end(),
                       [&](const std::string& word) { return sql.find(word) != sql.npos; })) {
        continue;
      }
      ++found;
      EXPECT_THAT(Explain(sql), ::testing::HasSubstr(c.index)) << sql;
    }
    EXPECT_GE(found, 1) << "no statement has these words any more";
  }
}

}  // namespace
}  // namespace ckptd::catalog
