// Requests that are wrong, to every call: a table of request, code and reason.
#include <gtest/gtest.h>

#include "tests/integration/daemon/wire.h"

namespace ckpt::test {
namespace {

using Code = absl::StatusCode;

struct Row {
  const char* what;
  const char* method;
  const char* request;  // protobuf text; $tidy is a good `run`
  Code code;
  const char* reason;
};

constexpr Code kBad = Code::kInvalidArgument;
constexpr Code kNone = Code::kNotFound;
constexpr Code kState = Code::kFailedPrecondition;

class BadCalls : public Refusals {
 protected:
  void Run(const std::vector<Row>& rows) {
    Remember();
    for (const Row& row : rows) {
      const Reply reply =
          CallRaw(channel_, FullName(row.method), {Encode(row.method, row.request, words_)});
      ExpectRefused(std::string(row.method) + ": " + row.what, reply.status, row.code, row.reason);
    }
  }
};

TEST_F(BadCalls, NamesThatAreNone) {
  Run({
      {"no run", "OpenAttempt", "launch_id: 'l' world_size: 1", kBad, reason::kBadName},
      {"empty run", "OpenAttempt", "run { run: '' } launch_id: 'l' world_size: 1", kBad,
       reason::kBadName},
      {"a path", "OpenAttempt", "run { run: '../x' } launch_id: 'l' world_size: 1", kBad,
       reason::kBadName},
      {"dots", "OpenAttempt", "run { run: '..' } launch_id: 'l' world_size: 1", kBad,
       reason::kBadName},
      {"a slash", "OpenAttempt", "run { run: 'a/b' } launch_id: 'l' world_size: 1", kBad,
       reason::kBadName},
      {"10 kB", "OpenAttempt", "run { run: '$10k' } launch_id: 'l' world_size: 1", kBad,
       reason::kBadName},
      {"control characters", "OpenAttempt",
       "run { run: 'a\\n\\x1b[31mb' } launch_id: 'l' world_size: 1", kBad, reason::kBadName},
      {"a zero byte", "OpenAttempt", "run { run: 'a\\000b' } launch_id: 'l' world_size: 1", kBad,
       reason::kBadName},
      {"not UTF-8", "OpenAttempt", "run { run: 'a\\xff\\xfeb' } launch_id: 'l' world_size: 1", kBad,
       reason::kBadField},
      {"another script", "OpenAttempt",
       "run { run: 'l\\303\\244uft' } launch_id: 'l' world_size: 1", kBad, reason::kBadName},
      {"a project that is a path", "OpenAttempt",
       "run { project: '../..' run: 'x' } launch_id: 'l' world_size: 1", kBad, reason::kBadName},
      {"a project of 10 kB", "OpenAttempt",
       "run { project: '$10k' run: 'x' } launch_id: 'l' world_size: 1", kBad, reason::kBadName},
      {"empty launch id", "OpenAttempt", "run { run: 'new' } world_size: 1", kBad,
       reason::kBadName},
      {"launch id of 10 kB", "OpenAttempt", "run { run: 'new' } launch_id: '$10k' world_size: 1",
       kBad, reason::kBadName},
      {"launch id with a newline", "OpenAttempt",
       "run { run: 'new' } launch_id: 'a\\nb' world_size: 1", kBad, reason::kBadName},
      {"empty pin", "Pin", "$tidy checkpoint_id: $latest", kBad, reason::kBadName},
      {"a pin of 10 kB", "Pin", "$tidy checkpoint_id: $latest name: '$10k'", kBad,
       reason::kBadName},
      {"a pin with control characters", "Pin", "$tidy checkpoint_id: $latest name: 'a\\tb'", kBad,
       reason::kBadName},
      {"empty pin", "Unpin", "$tidy checkpoint_id: $latest", kBad, reason::kBadName},
      {"an alias that is a selector", "SetAlias", "$tidy checkpoint_id: $latest alias: 'latest'",
       kBad, reason::kBadName},
      {"an alias that is a step", "SetAlias", "$tidy checkpoint_id: $latest alias: '20'", kBad,
       reason::kBadName},
      {"an alias that is a path", "SetAlias", "$tidy checkpoint_id: $latest alias: '../x'", kBad,
       reason::kBadName},
      {"empty alias", "DeleteAlias", "$tidy", kBad, reason::kBadName},
      {"a project that is a path", "ListRuns", "project: '../x'", kBad, reason::kBadName},
      {"a prefix with a slash", "ListRuns", "name_prefix: 'a/b'", kBad, reason::kBadName},
      {"a project of 10 kB", "Prune", "project: '$10k'", kBad, reason::kBadName},
      {"a project that is a path", "GetStats", "run { project: '..' }", kBad, reason::kBadName},
      {"a metric with a newline", "AttachMetrics",
       "$tidy checkpoint_id: $latest metrics { name: 'a\\nb' value: 1 }", kBad, reason::kBadName},
      {"a metric twice", "AttachMetrics",
       "$tidy checkpoint_id: $latest metrics { name: 'a' value: 1 } metrics { name: 'a' }", kBad,
       reason::kBadField},
      {"a run that is a path", "Resume", "run { run: '../x' } attempt: 1", kBad, reason::kBadName},
      {"a source that is a path", "Resume", "$tidy attempt: 2 from_run { run: '../x' }", kBad,
       reason::kBadName},
      {"a run that is a path", "DeleteRun", "run { run: '../tidy' }", kBad, reason::kBadName},
      {"a run that is a path", "Verify", "run { run: '../tidy' }", kBad, reason::kBadName},
      {"a project that is a path", "Verify", "run { project: '..' } all_runs: true", kBad,
       reason::kBadName},
      {"no run", "Verify", "", kBad, reason::kBadName},
      {"all runs and one", "Verify", "$tidy all_runs: true", kBad, reason::kBadField},
      {"all runs and a checkpoint", "Verify", "checkpoint_id: 1 all_runs: true", kBad,
       reason::kBadField},
      {"a position that is a path", "Verify", "all_runs: true after { run { run: '..' } }", kBad,
       reason::kBadName},
  });
}

TEST_F(BadCalls, WhatDoesNotExist) {
  Run({
      {"run", "OpenAttempt", "run { run: 'no' } launch_id: 'l' world_size: 1 must_exist: true",
       kNone, reason::kRunNotFound},
      {"run", "OpenUpload", "run { run: 'no' } attempt: 1 step: 1 manifest {}", kNone,
       reason::kRunNotFound},
      {"run", "Resume", "run { run: 'no' } attempt: 1", kNone, reason::kRunNotFound},
      {"run", "Resolve", "run { run: 'no' }", kNone, reason::kRunNotFound},
      {"run", "GetRun", "run { run: 'no' }", kNone, reason::kRunNotFound},
      {"run", "ListCheckpoints", "run { run: 'no' }", kNone, reason::kRunNotFound},
      {"run", "ListEvents", "run { run: 'no' }", kNone, reason::kRunNotFound},
      {"run", "GetStats", "run { run: 'no' }", kNone, reason::kRunNotFound},
      {"project", "GetStats", "run { project: 'no' }", kNone, reason::kRunNotFound},
      {"project of a run that is there", "GetRun", "run { project: 'no' run: 'tidy' }", kNone,
       reason::kRunNotFound},
      {"run", "Verify", "run { run: 'no' }", kNone, reason::kRunNotFound},
      {"project", "Verify", "run { project: 'no' } all_runs: true", kNone, reason::kRunNotFound},
      {"run", "GetPolicy", "run { run: 'no' }", kNone, reason::kRunNotFound},
      {"run", "SetPolicy", "run { run: 'no' } policy { keep_last: 1 }", kNone,
       reason::kRunNotFound},
      {"run", "Prune", "run { run: 'no' }", kNone, reason::kRunNotFound},
      {"run, though one begins so", "Prune", "run { run: 'tid' }", kNone, reason::kRunNotFound},
      {"run", "DeleteCheckpoints", "run { run: 'no' } checkpoint_ids: 1", kNone,
       reason::kRunNotFound},
      {"run", "DeleteRun", "run { run: 'no' }", kNone, reason::kRunNotFound},
      {"run", "Rewind", "run { run: 'no' } checkpoint_id: 1", kNone, reason::kRunNotFound},
      {"attempt", "OpenUpload", "$tidy attempt: 99 step: 1 manifest {}", kNone,
       reason::kAttemptNotFound},
      {"attempt past 63 bits", "OpenUpload",
       "$tidy attempt: 18446744073709551615 step: 1 manifest {}", kNone, reason::kAttemptNotFound},
      {"attempt", "Resume", "$tidy attempt: 99", kNone, reason::kAttemptNotFound},
      {"upload", "CommitShard", "upload_id: 'u999'", kNone, reason::kUploadNotFound},
      {"upload that is no id", "CommitShard", "upload_id: '../x\\n'", kNone,
       reason::kUploadNotFound},
      {"empty upload", "CommitShard", "", kNone, reason::kUploadNotFound},
      {"upload of 10 kB", "CommitShard", "upload_id: '$10k'", kNone, reason::kUploadNotFound},
      {"upload", "AbortUpload", "upload_id: 'u999'", kNone, reason::kUploadNotFound},
      {"ticket", "ReportLoad", "ticket_id: 't999' ok: true", kNone, reason::kTicketNotFound},
      {"ticket that is no id", "ReportLoad", "ticket_id: '\\x01' ok: true", kNone,
       reason::kTicketNotFound},
      {"checkpoint", "GetCheckpoint", "checkpoint_id: 999", kNone, reason::kCheckpointNotFound},
      {"checkpoint 0", "GetCheckpoint", "", kNone, reason::kCheckpointNotFound},
      {"checkpoint past 63 bits", "GetCheckpoint", "checkpoint_id: 18446744073709551615", kNone,
       reason::kCheckpointNotFound},
      {"checkpoint", "ListEvents", "$tidy checkpoint_id: 999", kNone, reason::kCheckpointNotFound},
      {"checkpoint", "GetManifest", "checkpoint_id: 999", kNone, reason::kCheckpointNotFound},
      {"removed checkpoint", "GetManifest", "checkpoint_id: $removed", kNone,
       reason::kCheckpointRemoved},
      {"rank", "GetManifest", "checkpoint_id: $latest rank: 1", kNone, reason::kRankNotFound},
      {"rank of all bits", "GetManifest", "checkpoint_id: $latest rank: 4294967295", kNone,
       reason::kRankNotFound},
      {"checkpoint", "FetchChunks", "checkpoint_id: 999", kNone, reason::kCheckpointNotFound},
      {"removed checkpoint", "FetchChunks", "checkpoint_id: $removed", kNone,
       reason::kCheckpointRemoved},
      {"rank", "FetchChunks", "checkpoint_id: $latest rank: 7", kNone, reason::kRankNotFound},
      {"entry", "FetchChunks", "checkpoint_id: $latest entries: 'w' entries: 'no\\n'", kNone,
       reason::kEntryNotFound},
      {"entry of a range", "FetchChunks", "checkpoint_id: $latest range { entry: 'no' }", kNone,
       reason::kEntryNotFound},
      {"checkpoint", "Verify", "$tidy checkpoint_id: 999", kNone, reason::kCheckpointNotFound},
      {"removed checkpoint", "Verify", "$tidy checkpoint_id: $removed", kNone,
       reason::kCheckpointRemoved},
      {"checkpoint", "AttachMetrics", "$tidy checkpoint_id: 999 metrics { name: 'm' }", kNone,
       reason::kCheckpointNotFound},
      {"removed checkpoint", "AttachMetrics", "$tidy checkpoint_id: $removed metrics { name: 'm' }",
       kNone, reason::kCheckpointRemoved},
      {"checkpoint of the run", "Pin", "run { run: 'no' } checkpoint_id: $latest name: 'p'", kNone,
       reason::kCheckpointNotFound},
      {"removed checkpoint", "Pin", "$tidy checkpoint_id: $removed name: 'p'", kNone,
       reason::kCheckpointRemoved},
      {"pin", "Unpin", "$tidy checkpoint_id: $latest name: 'p'", kNone, reason::kPinNotFound},
      {"checkpoint", "SetAlias", "$tidy checkpoint_id: 999 alias: 'a'", kNone,
       reason::kCheckpointNotFound},
      {"removed checkpoint", "SetAlias", "$tidy checkpoint_id: $removed alias: 'a'", kNone,
       reason::kCheckpointRemoved},
      {"alias", "DeleteAlias", "$tidy alias: 'a'", kNone, reason::kAliasNotFound},
      {"one checkpoint of two", "DeleteCheckpoints",
       "$tidy checkpoint_ids: $latest checkpoint_ids: 999", kNone, reason::kCheckpointNotFound},
      {"removed checkpoint", "DeleteCheckpoints", "$tidy checkpoint_ids: $removed", kNone,
       reason::kCheckpointRemoved},
      {"checkpoint", "RestoreCheckpoint", "$tidy checkpoint_id: 999", kNone,
       reason::kCheckpointNotFound},
      {"checkpoint", "Rewind", "$tidy checkpoint_id: 999", kNone, reason::kCheckpointNotFound},
      {"removed checkpoint", "Rewind", "$tidy checkpoint_id: $removed", kNone,
       reason::kCheckpointRemoved},
  });
}

TEST_F(BadCalls, SelectorsThatMatchNothingOrAreNone) {
  Run({
      {"a step that was never saved", "Resolve", "$tidy selector { step: 7 }", kNone,
       reason::kSelectorMatchesNothing},
      {"a step past 63 bits", "Resolve", "$tidy selector { step: 18446744073709551615 }", kNone,
       reason::kSelectorMatchesNothing},
      {"the removed step", "Resolve", "$tidy selector { step: 10 }", kNone,
       reason::kCheckpointRemoved},
      {"a metric nobody reported", "Resolve", "$tidy selector { best: 'none' }", kNone,
       reason::kSelectorMatchesNothing},
      {"an unknown alias", "Resolve", "$tidy selector { alias: 'prod' }", kNone,
       reason::kSelectorMatchesNothing},
      {"an unknown id", "Resolve", "$tidy selector { id: 999 }", kNone,
       reason::kSelectorMatchesNothing},
      {"a metric that is a path", "Resolve", "$tidy selector { best: '../x' }", kBad,
       reason::kBadName},
      {"a metric of 10 kB", "Resolve", "$tidy selector { best: '$10k' }", kBad, reason::kBadName},
      {"an alias with control characters", "Resolve", "$tidy selector { alias: 'a\\x07' }", kBad,
       reason::kBadName},
      {"an empty alias", "Resolve", "$tidy selector { alias: '' }", kBad, reason::kBadName},
      {"a step that was never saved", "Resume", "$tidy attempt: 2 selector { step: 7 }", kNone,
       reason::kSelectorMatchesNothing},
      {"an unknown alias", "Resume", "$tidy attempt: 2 selector { alias: 'prod' }", kNone,
       reason::kSelectorMatchesNothing},
      {"a source without the run", "Resume",
       "$tidy attempt: 2 selector { step: 7 } from_run { run: 'no' }", kNone,
       reason::kSelectorMatchesNothing},
  });
}

TEST_F(BadCalls, NumbersOutOfRange) {
  Run({
      {"no world size", "OpenAttempt", "run { run: 'new' } launch_id: 'l'", kBad,
       reason::kBadField},
      {"65537 ranks", "OpenAttempt", "run { run: 'new' } launch_id: 'l' world_size: 65537", kBad,
       reason::kBadField},
      {"as many ranks as fit", "OpenAttempt",
       "run { run: 'new' } launch_id: 'l' world_size: 4294967295", kBad, reason::kBadField},
      {"rank = world size", "OpenUpload", "$tidy attempt: 2 step: 1 rank: 1 manifest {}", kBad,
       reason::kBadField},
      {"rank of all bits", "OpenUpload", "$tidy attempt: 2 step: 1 rank: 4294967295 manifest {}",
       kBad, reason::kBadField},
      {"step past 63 bits", "OpenUpload", "$tidy attempt: 2 step: 9223372036854775808 manifest {}",
       kBad, reason::kBadField},
      {"rank = world size", "Resume", "$tidy attempt: 2 rank: 1", kBad, reason::kBadField},
      {"chunk past the shard", "FetchChunks", "checkpoint_id: $latest chunks: 0 chunks: 1", kBad,
       reason::kBadField},
      {"chunk of all bits", "FetchChunks", "checkpoint_id: $latest chunks: 4294967295", kBad,
       reason::kBadField},
      {"range past the entry", "FetchChunks",
       "checkpoint_id: $latest range { entry: 'w' offset: 4999 length: 2 }", kBad,
       reason::kBadField},
      {"range whose sum overflows", "FetchChunks",
       "checkpoint_id: $latest range { entry: 'w' offset: 2 length: 18446744073709551615 }", kBad,
       reason::kBadField},
      {"no ids", "DeleteCheckpoints", "$tidy", kBad, reason::kBadField},
      {"a token that is none", "ListCheckpoints", "$tidy page_token: 'x'", kBad, reason::kBadField},
      {"a token past 64 bits", "ListCheckpoints", "$tidy page_token: '18446744073709551616'", kBad,
       reason::kBadField},
      {"a negative token", "ListCheckpoints", "$tidy page_token: '-1'", kBad, reason::kBadField},
      {"a token of 10 kB", "ListEvents", "$tidy page_token: '$10k'", kBad, reason::kBadField},
      {"a token that is none", "ListRuns", "page_token: '\\x01'", kBad, reason::kBadField},
      {"a token of 10 kB", "ListRuns", "page_token: '$10k'", kBad, reason::kBadField},
  });
}

TEST_F(BadCalls, PoliciesThatWouldKeepNothingOrGuess) {
  Run({
      {"keep_last 0", "SetPolicy", "$tidy policy { keep_last: 0 }", kBad, reason::kBadPolicy},
      {"every 0 steps", "SetPolicy", "$tidy policy { keep_every_steps: 0 }", kBad,
       reason::kBadPolicy},
      {"within 0 s", "SetPolicy", "$tidy policy { keep_within {} }", kBad, reason::kBadPolicy},
      {"within less than nothing", "SetPolicy", "$tidy policy { keep_within { seconds: -1 } }",
       kBad, reason::kBadPolicy},
      {"hourly 0", "SetPolicy", "$tidy policy { keep_hourly: 0 }", kBad, reason::kBadPolicy},
      {"daily 0", "SetPolicy", "$tidy policy { keep_daily: 0 }", kBad, reason::kBadPolicy},
      {"weekly 0", "SetPolicy", "$tidy policy { keep_weekly: 0 }", kBad, reason::kBadPolicy},
      {"monthly 0", "SetPolicy", "$tidy policy { keep_monthly: 0 }", kBad, reason::kBadPolicy},
      {"yearly 0", "SetPolicy", "$tidy policy { keep_yearly: 0 }", kBad, reason::kBadPolicy},
      {"0 bytes", "SetPolicy", "$tidy policy { keep_bytes: 0 }", kBad, reason::kBadPolicy},
      {"best without a mode", "SetPolicy",
       "$tidy policy { keep_best { metric: 'val_loss' count: 1 } }", kBad, reason::kBadPolicy},
      {"best with a mode that is none", "SetPolicy",
       "$tidy policy { keep_best { metric: 'val_loss' mode: 9 count: 1 } }", kBad,
       reason::kBadPolicy},
      {"best 0", "SetPolicy", "$tidy policy { keep_best { metric: 'm' mode: METRIC_MODE_MIN } }",
       kBad, reason::kBadPolicy},
      {"best of a metric that is none", "SetPolicy",
       "$tidy policy { keep_best { metric: '../m' mode: METRIC_MODE_MIN count: 1 } }", kBad,
       reason::kBadPolicy},
      {"two rules for a metric", "SetPolicy",
       "$tidy policy { keep_best { metric: 'm' mode: METRIC_MODE_MIN count: 1 }"
       " keep_best { metric: 'm' mode: METRIC_MODE_MAX count: 1 } }",
       kBad, reason::kBadPolicy},
      {"a grace in the past", "SetPolicy", "$tidy policy { restore_grace { seconds: -1 } }", kBad,
       reason::kBadPolicy},
      {"a deadline of nothing", "SetPolicy", "$tidy policy { upload_deadline {} }", kBad,
       reason::kBadPolicy},
      {"no failed resumes", "SetPolicy", "$tidy policy { max_failed_resumes: 0 }", kBad,
       reason::kBadPolicy},
      {"only a preview", "SetPolicy", "$tidy policy { keep_last: 0 } dry_run: true", kBad,
       reason::kBadPolicy},
      {"a new run's", "OpenAttempt",
       "run { run: 'new' } launch_id: 'l' world_size: 1 initial_policy { keep_last: 0 }", kBad,
       reason::kBadPolicy},
      {"based on another version", "SetPolicy", "$tidy policy { keep_last: 2 } if_version: 99",
       Code::kAborted, reason::kPolicyChanged},
  });
}

TEST_F(BadCalls, RightRequestsInTheWrongState) {
  Run({
      {"chunks missing", "CommitShard", "upload_id: '$upload'", kState, reason::kChunksMissing},
      {"other content for a step", "OpenUpload", "$tidy attempt: 2 step: 20 manifest {}",
       Code::kAlreadyExists, reason::kStepContentDiffers},
      {"other content for a step under way", "OpenUpload", "$tidy attempt: 2 step: 30 manifest {}",
       Code::kAlreadyExists, reason::kStepContentDiffers},
      {"the last checkpoint", "DeleteCheckpoints", "$tidy checkpoint_ids: $latest", kState,
       reason::kLastCheckpoint},
      {"the last checkpoint, a preview", "DeleteCheckpoints",
       "$tidy checkpoint_ids: $latest dry_run: true", kState, reason::kLastCheckpoint},
      {"reclaimed already", "RestoreCheckpoint", "$tidy checkpoint_id: $removed", kState,
       reason::kNotRestorable},
  });
  auto other = client_->OpenAttempt(kTidy, "launch-x", 1);  // fences attempt 2
  ASSERT_TRUE(other.ok()) << other.status();
  Run({
      {"zombie", "OpenUpload", "$tidy attempt: 2 step: 40 manifest {}", kState,
       reason::kAttemptFenced},
      {"an older zombie", "OpenUpload", "$tidy attempt: 1 step: 40 manifest {}", kState,
       reason::kAttemptFenced},
      {"zombie", "PushChunks", "upload_id: '$upload' end: true", kState, reason::kAttemptFenced},
      {"zombie", "CommitShard", "upload_id: '$upload'", kState, reason::kAttemptFenced},
      {"zombie", "Resume", "$tidy attempt: 2", kState, reason::kAttemptFenced},
      {"another world size", "OpenAttempt", "$tidy launch_id: 'launch-x' world_size: 2", kState,
       reason::kWorldSizeDiffers},
  });
}

TEST_F(BadCalls, AZombieThatSentAllItsChunksCannotCommitThem) {
  Shard shard = MakeShard(9, 100000);
  PushRequest request;
  request.offer = {.run = kTidy, .attempt = 2, .step = 50, .manifest = &shard.manifest};
  bool fenced = false;
  request.source = ChunkReader([&](uint32_t, uint64_t offset, std::span<std::byte> into) {
    // The new attempt comes while this one's bytes are on their way.
    fenced = OpenAttempt(*client_, kTidy) == 3;
    std::copy_n(shard.bytes.begin() + static_cast<ptrdiff_t>(offset), into.size(), into.begin());
    return absl::OkStatus();
  });
  const absl::Status status = Push(*client_, request).status();
  EXPECT_TRUE(fenced);
  EXPECT_EQ(status.code(), kState) << status;
  EXPECT_EQ(ReasonOf(status), reason::kAttemptFenced);
  EXPECT_TRUE(IsOneSentence(std::string(status.message())));
  EXPECT_EQ(client_->ListCheckpoints(kTidy)->size(), 1u);
}

TEST_F(BadCalls, NumbersPast63BitsFilterAsNumbersDo) {
  CheckpointFilter filter;
  filter.min_step = UINT64_MAX;
  EXPECT_EQ(client_->ListCheckpoints(kTidy, filter)->size(), 0u);
  filter = {.max_step = UINT64_MAX};
  EXPECT_EQ(client_->ListCheckpoints(kTidy, filter)->size(), 1u);
}

}  // namespace
}  // namespace ckpt::test
