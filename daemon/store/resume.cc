// Which checkpoint to go on from: tickets, load reports, rewind.
#include <charconv>

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include "daemon/catalog/checkpoints.h"
#include "daemon/catalog/damage.h"
#include "daemon/catalog/resumes.h"
#include "daemon/store/errors.h"
#include "daemon/store/selection.h"
#include "daemon/store/store.h"
#include "daemon/store/tickets.h"
#include "proto/names.h"

namespace ckptd {

std::string TicketId(int64_t row) { return fmt::format("t{}", row); }

int64_t TicketRowOf(const std::string& id) {
  int64_t row = 0;
  if (id.size() < 2 || id[0] != 't') return 0;
  const char* end = id.data() + id.size();
  auto [stop, error] = std::from_chars(id.data() + 1, end, row);
  return error == std::errc() && stop == end ? row : 0;
}

namespace {

absl::Status ResumeRequired(const ckpt::RunName& run) {
  return ckpt::MakeError(absl::StatusCode::kFailedPrecondition, ckpt::reason::kResumeRequired,
                         fmt::format("run {} has no checkpoint to resume from, and a start from "
                                     "scratch was ruled out",
                                     run.ToString()));
}

// Why a ticket's checkpoint cannot be resumed from any more; OK: it can.
absl::Status CheckOffered(const std::optional<ckpt::Checkpoint>& checkpoint, uint64_t id) {
  if (!checkpoint) return CheckpointNotFound(id);
  if (checkpoint->removed_at) return CheckpointRemoved(*checkpoint);
  if (checkpoint->damage.empty()) return absl::OkStatus();
  return ckpt::MakeError(
      absl::StatusCode::kFailedPrecondition, ckpt::reason::kChunkDamaged,
      fmt::format("checkpoint {}@{} (id {}) is damaged ({})", checkpoint->run.ToString(),
                  checkpoint->step, id, checkpoint->damage));
}

}  // namespace

absl::StatusOr<Store::ResumeAnswer> Store::AnswerOf(catalog::ReadTxn& txn,
                                                    const catalog::TicketRow& ticket) {
  ResumeAnswer answer;
  answer.outcome = static_cast<Outcome>(ticket.outcome);
  answer.explanation = ticket.explanation;
  answer.ticket_id = TicketId(ticket.id);
  answer.expires_at = ticket.expires_at;
  if (ticket.checkpoint_id != 0) {
    ASSIGN_OR_RETURN(answer.checkpoint, DescribeCheckpoint(txn, ticket.checkpoint_id));
  }
  return answer;
}

absl::StatusOr<Store::ResumeAnswer> Store::Resume(const ckpt::RunName& name, uint64_t number,
                                                  uint32_t rank, const ckpt::Selector& selector,
                                                  bool require_resume,
                                                  const std::optional<ckpt::RunName>& from_run) {
  absl::Time now = clock_->Now();
  // Before the writer's turn, since it reads a lot. What is not found is said below.
  if (absl::Status read = CheckManifests(name, number, selector, from_run);
      !absl::IsNotFound(read)) {
    RETURN_IF_ERROR(read);
  }
  ASSIGN_OR_RETURN(auto txn, catalog_->BeginWrite());
  ASSIGN_OR_RETURN(catalog::RunRow run, RequireRun(*txn, name));
  ASSIGN_OR_RETURN(auto attempt, catalog::FindAttempt(*txn, run.id, number));
  if (!attempt) return AttemptNotFound(name, number);
  if (number != run.newest_attempt) return AttemptFenced(name, number, run.newest_attempt);
  if (rank >= attempt->world_size) {
    return ckpt::BadField("rank", fmt::format("rank {} does not exist: the attempt's world size "
                                              "is {}",
                                              rank, attempt->world_size));
  }
  ASSIGN_OR_RETURN(auto ticket, catalog::FindTicketOfAttempt(*txn, run.id, number));
  if (ticket && ticket->checkpoint_id != 0) {
    // Its checkpoint may have turned out damaged, or gone: then another answer.
    ASSIGN_OR_RETURN(auto checkpoint, catalog::FindCheckpoint(*txn, ticket->checkpoint_id));
    if (absl::Status usable = CheckOffered(checkpoint, ticket->checkpoint_id); !usable.ok()) {
      ASSIGN_OR_RETURN(bool loaded, catalog::OtherRankLoaded(*txn, ticket->id, rank));
      if (loaded) {
        return ckpt::Annotate(
            usable, fmt::format("other ranks of attempt {} have loaded what can no longer be, and "
                                "ranks must not go on from different checkpoints; restart all of "
                                "them, as a new attempt",
                                number));
      }
      RETURN_IF_ERROR(catalog::DeleteTicket(*txn, ticket->id));
      ticket.reset();
    }
  }
  if (ticket && ticket->selector != ckpt::ToString(selector)) {
    return ckpt::BadField("selector",
                          fmt::format("attempt {} of run {} was answered for \"{}\" already; all "
                                      "ranks must ask alike, and another selector takes a new "
                                      "attempt",
                                      number, name.ToString(), ticket->selector));
  }
  if (ticket && ticket->checkpoint_id == 0 && require_resume) return ResumeRequired(name);
  if (!ticket) {
    RETURN_IF_ERROR(FlagFruitless(*txn, run));
    ASSIGN_OR_RETURN(ticket, NewTicket(*txn, run, *attempt, selector, from_run, require_resume));
    if (ticket->checkpoint_id != 0) {
      RETURN_IF_ERROR(catalog::SetAttemptResumedFrom(*txn, run.id, number, ticket->checkpoint_id));
    }
    RETURN_IF_ERROR(AddEvent(*txn, run.id, ckpt::Event::Kind::kResumed, ticket->checkpoint_id, 0,
                             fmt::format("attempt {} resumes: {}", number, ticket->explanation)));
    spdlog::info("attempt {} of {} resumes: {}", number, name.ToString(), ticket->explanation);
  } else {
    ticket->expires_at = now + options_.ticket_ttl;
    RETURN_IF_ERROR(catalog::ExtendTicket(*txn, ticket->id, ticket->expires_at));
  }
  ASSIGN_OR_RETURN(ResumeAnswer answer, AnswerOf(*txn, *ticket));
  RETURN_IF_ERROR(txn->Commit());
  janitor_->JudgeAt(run.id, ticket->expires_at);
  return answer;
}

absl::StatusOr<catalog::RunRow> Store::SourceOf(catalog::ReadTxn& txn, const catalog::RunRow& run,
                                                const std::optional<ckpt::RunName>& from_run) {
  // A run's own checkpoints go before those it began from: its restart goes on,
  // it does not begin again.
  ASSIGN_OR_RETURN(auto figures, catalog::GetRunFigures(txn, run.id));
  if (figures.checkpoints > 0 || !from_run) return run;
  return RequireRun(txn, *from_run);
}

absl::Status Store::CheckManifests(const ckpt::RunName& name, uint64_t attempt,
                                   const ckpt::Selector& selector,
                                   const std::optional<ckpt::RunName>& from_run) {
  for (;;) {
    uint64_t id = 0;
    std::optional<uint32_t> rank;
    {
      ASSIGN_OR_RETURN(auto txn, catalog_->BeginRead());
      ASSIGN_OR_RETURN(catalog::RunRow run, RequireRun(*txn, name));
      // Looked at when the ticket was given; and each rank reads its own again.
      ASSIGN_OR_RETURN(auto ticket, catalog::FindTicketOfAttempt(*txn, run.id, attempt));
      if (ticket) return absl::OkStatus();
      ASSIGN_OR_RETURN(catalog::RunRow source, SourceOf(*txn, run, from_run));
      ASSIGN_OR_RETURN(Selection selected, SelectIn(*txn, source, selector, PolicyOf(source)));
      if (!selected.checkpoint) return absl::OkStatus();
      id = selected.checkpoint->id;
      ASSIGN_OR_RETURN(rank, catalog::FindDamagedManifest(*txn, id));
    }
    if (!rank) return absl::OkStatus();
    RETURN_IF_ERROR(MarkManifestDamaged(id, *rank));
  }
}

absl::StatusOr<catalog::TicketRow> Store::NewTicket(catalog::WriteTxn& txn,
                                                    const catalog::RunRow& run,
                                                    const catalog::AttemptRow& attempt,
                                                    const ckpt::Selector& selector,
                                                    const std::optional<ckpt::RunName>& from_run,
                                                    bool require_resume) {
  absl::Time now = clock_->Now();
  catalog::TicketRow ticket;
  ticket.run_id = run.id;
  ticket.attempt = attempt.number;
  ticket.selector = ckpt::ToString(selector);
  ticket.world_size = attempt.world_size;
  ticket.opened_at = now;
  ticket.expires_at = now + options_.ticket_ttl;

  ASSIGN_OR_RETURN(catalog::RunRow source, SourceOf(txn, run, from_run));
  ASSIGN_OR_RETURN(auto figures, catalog::GetRunFigures(txn, source.id));
  if (figures.checkpoints == 0 && source.id != run.id) {
    return SelectorMatchesNothing(*from_run, selector);
  }
  if (figures.checkpoints == 0) {
    if (require_resume) return ResumeRequired(run.name);
    ticket.outcome = static_cast<uint32_t>(Outcome::kNewRun);
    ticket.explanation =
        fmt::format("run {} has no checkpoint: start from scratch", run.name.ToString());
    return catalog::InsertTicket(txn, ticket);
  }
  ASSIGN_OR_RETURN(Selection selected, SelectIn(txn, source, selector, PolicyOf(source)));
  if (!selected.checkpoint && selected.fell_back) {
    return ckpt::MakeError(absl::StatusCode::kDataLoss, ckpt::reason::kNoWholeCheckpoint,
                           fmt::format("run {}: {}", source.name.ToString(), selected.explanation));
  }
  if (!selected.checkpoint) {
    absl::Status status = SelectorMatchesNothing(source.name, selector);
    return selected.explanation.empty() ? status : ckpt::Annotate(status, selected.explanation);
  }
  ticket.outcome = static_cast<uint32_t>(selected.fell_back ? Outcome::kDamaged : Outcome::kFound);
  ticket.explanation = selected.explanation;
  ticket.checkpoint_id = selected.checkpoint->id;
  return catalog::InsertTicket(txn, ticket);
}

absl::Status Store::FlagFruitless(catalog::WriteTxn& txn, const catalog::RunRow& run) {
  ckpt::Policy policy = PolicyOf(run);
  ASSIGN_OR_RETURN(Selection latest, SelectIn(txn, run, ckpt::SelectLatest{}, policy));
  if (!latest.checkpoint) return absl::OkStatus();
  ASSIGN_OR_RETURN(uint32_t fruitless,
                   catalog::CountFruitlessResumes(txn, run.id, latest.checkpoint->id));
  if (fruitless < policy.max_failed_resumes) return absl::OkStatus();
  ASSIGN_OR_RETURN(Line line, LoadLine(txn, run));
  ASSIGN_OR_RETURN(auto before, ListDownToWhole(txn, run.id, line, latest.checkpoint->id));
  // The last whole one is the best there is, however suspect.
  if (before.empty() || !before.back().damage.empty() ||
      !line.Contains(before.back().timeline, before.back().id)) {
    return absl::OkStatus();
  }
  std::string damage = fmt::format("{} resumes from it in a row led to no new commit", fruitless);
  RETURN_IF_ERROR(catalog::SetDamage(txn, latest.checkpoint->id, damage));
  return AddEvent(txn, run.id, ckpt::Event::Kind::kDamaged, latest.checkpoint->id,
                  latest.checkpoint->step, damage);
}

absl::Status Store::ReportLoad(const std::string& ticket_id, uint32_t rank, bool ok,
                               const std::string& error, bool checkpoint_at_fault,
                               const Once<Done>& once) {
  ASSIGN_OR_RETURN(auto txn, catalog_->BeginWrite());
  ASSIGN_OR_RETURN(auto ticket, catalog::FindTicket(*txn, TicketRowOf(ticket_id)));
  if (!ticket) return TicketNotFound(ticket_id);
  if (rank >= ticket->world_size) {
    return ckpt::BadField("rank", fmt::format("rank {} does not exist: the ticket's world size is "
                                              "{}",
                                              rank, ticket->world_size));
  }
  ASSIGN_OR_RETURN(bool news, catalog::InsertReport(*txn, ticket->id, rank, ok, error,
                                                    checkpoint_at_fault, clock_->Now()));
  if (news && ticket->checkpoint_id != 0) {
    ASSIGN_OR_RETURN(auto checkpoint, catalog::FindCheckpoint(*txn, ticket->checkpoint_id));
    uint64_t step = checkpoint ? checkpoint->step : 0;
    std::string text = ok ? fmt::format("rank {} loaded it", rank)
                          : fmt::format("rank {} could not load it: {}", rank, error);
    RETURN_IF_ERROR(AddEvent(*txn, ticket->run_id,
                             ok ? ckpt::Event::Kind::kLoaded : ckpt::Event::Kind::kLoadFailed,
                             ticket->checkpoint_id, step, text));
    if (!ok && checkpoint_at_fault && checkpoint && checkpoint->damage.empty()) {
      RETURN_IF_ERROR(catalog::SetDamage(*txn, checkpoint->id, text));
      RETURN_IF_ERROR(
          AddEvent(*txn, ticket->run_id, ckpt::Event::Kind::kDamaged, checkpoint->id, step, text));
      spdlog::error("checkpoint {}@{} (id {}) is flagged: {}", checkpoint->run.ToString(), step,
                    checkpoint->id, text);
    }
  }
  RETURN_IF_ERROR(Remember(*txn, once, {}));
  RETURN_IF_ERROR(txn->Commit());
  janitor_->JudgeAt(ticket->run_id, clock_->Now());
  return absl::OkStatus();
}

absl::StatusOr<ckpt::Run> Store::Rewind(const ckpt::RunName& name, uint64_t checkpoint_id,
                                        const Once<ckpt::Run>& once) {
  ASSIGN_OR_RETURN(auto txn, catalog_->BeginWrite());
  ASSIGN_OR_RETURN(catalog::RunRow run, RequireRun(*txn, name));
  ASSIGN_OR_RETURN(ckpt::Checkpoint checkpoint, RequireCheckpoint(*txn, name, checkpoint_id));
  if (!checkpoint.damage.empty()) {
    return ckpt::MakeError(absl::StatusCode::kFailedPrecondition, ckpt::reason::kChunkDamaged,
                           fmt::format("checkpoint {}@{} is damaged ({}); rewind to a whole one",
                                       name.ToString(), checkpoint.step, checkpoint.damage));
  }
  ASSIGN_OR_RETURN(Selection latest, SelectIn(*txn, run, ckpt::SelectLatest{}, PolicyOf(run)));
  if (!latest.checkpoint || latest.checkpoint->id != checkpoint_id) {
    // What runs now goes on where it is, also when it has not committed yet.
    ASSIGN_OR_RETURN(auto running, catalog::FindAttempt(*txn, run.id, run.newest_attempt));
    if (latest.checkpoint && running && running->timeline == 0 &&
        running->resumed_from == latest.checkpoint->id) {
      RETURN_IF_ERROR(
          catalog::SetAttemptTimeline(*txn, run.id, running->number, run.current_timeline));
    }
    ASSIGN_OR_RETURN(
        ckpt::Timeline timeline,
        catalog::InsertTimeline(*txn, run.id, checkpoint_id,
                                fmt::format("rewound to step {}", checkpoint.step), clock_->Now()));
    RETURN_IF_ERROR(AddEvent(
        *txn, run.id, ckpt::Event::Kind::kTimeline, checkpoint_id, checkpoint.step,
        fmt::format("timeline {} begins: rewound to step {}", timeline.number, checkpoint.step)));
    ASSIGN_OR_RETURN(run, RequireRun(*txn, name));
  }
  ASSIGN_OR_RETURN(ckpt::Run described, DescribeRun(*txn, run));
  RETURN_IF_ERROR(Remember(*txn, once, described));
  RETURN_IF_ERROR(txn->Commit());
  return described;
}

}  // namespace ckptd
