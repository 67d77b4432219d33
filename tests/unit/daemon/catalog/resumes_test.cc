// Tickets, reports, events.
#include "tests/unit/daemon/catalog/fixture.h"

namespace ckptd::catalog {
namespace {

using ::testing::ElementsAre;

class ResumesTest : public CatalogTest {
 protected:
  TicketRow Ticket(const RunRow& run, uint64_t attempt, uint64_t checkpoint_id,
                   uint32_t world_size = 1) {
    TicketRow ticket;
    ticket.run_id = run.id;
    ticket.attempt = attempt;
    ticket.checkpoint_id = checkpoint_id;
    ticket.selector = "best:val_loss";
    ticket.outcome = 2;
    ticket.explanation = "best val_loss 0.5";
    ticket.world_size = world_size;
    ticket.opened_at = now_;
    ticket.expires_at = now_ + absl::Hours(1);
    return Change([&](WriteTxn& txn) { return Get(InsertTicket(txn, ticket)); });
  }
  void Report(int64_t ticket, uint32_t rank, bool ok) {
    Change([&](WriteTxn& txn) {
      Get(InsertReport(txn, ticket, rank, ok, ok ? "" : "shape differs", false, now_));
    });
  }
};

TEST_F(ResumesTest, ATicketRoundTrips) {
  const RunRow run = MakeRun("a");
  const uint64_t id = Push(run, {.step = 1});
  const TicketRow ticket = Ticket(run, 3, id, 4);
  for (const auto& found :
       {Get(FindTicket(*Read(), ticket.id)), Get(FindTicketOfAttempt(*Read(), run.id, 3))}) {
    ASSERT_TRUE(found);
    EXPECT_EQ(found->id, ticket.id);
    EXPECT_EQ(found->run_id, run.id);
    EXPECT_EQ(found->attempt, 3u);
    EXPECT_EQ(found->checkpoint_id, id);
    EXPECT_EQ(found->selector, "best:val_loss");
    EXPECT_EQ(found->outcome, 2u);
    EXPECT_EQ(found->explanation, "best val_loss 0.5");
    EXPECT_EQ(found->world_size, 4u);
    EXPECT_EQ(found->opened_at, now_);
    EXPECT_EQ(found->expires_at, now_ + absl::Hours(1));
    EXPECT_EQ(found->reports, 0u);
  }
  EXPECT_FALSE(Get(FindTicket(*Read(), 99)));
  EXPECT_FALSE(Get(FindTicketOfAttempt(*Read(), run.id, 4)));
}

TEST_F(ResumesTest, AnAttemptHasOneTicket) {
  const RunRow run = MakeRun("a");
  Ticket(run, 1, 0);
  TicketRow second;
  second.run_id = run.id;
  second.attempt = 1;
  EXPECT_FALSE(InsertTicket(*Write(), second).ok());
}

TEST_F(ResumesTest, ATicketLeasesUntilAllRanksHaveReportedOrItLapses) {
  const RunRow run = MakeRun("a");
  const uint64_t id = Push(run, {.step = 1});
  const TicketRow ticket = Ticket(run, 1, id, 2);
  const auto leased = [&](absl::Time now) { return Get(ListTicketed(*Read(), run.id, now)); };
  EXPECT_THAT(leased(now_), ElementsAre(id));
  EXPECT_TRUE(leased(now_ + absl::Hours(1)).empty());
  EXPECT_EQ(Get(NextTicketEnd(*Read(), run.id, now_)), now_ + absl::Hours(1));

  Change([&](WriteTxn& txn) { Do(ExtendTicket(txn, ticket.id, now_ + absl::Hours(5))); });
  EXPECT_THAT(leased(now_ + absl::Hours(4)), ElementsAre(id));
  Report(ticket.id, 1, false);
  Report(ticket.id, 1, true);  // replaces
  EXPECT_EQ(Get(FindTicket(*Read(), ticket.id))->reports, 1u);
  EXPECT_THAT(leased(now_), ElementsAre(id));
  Report(ticket.id, 0, true);
  EXPECT_TRUE(leased(now_).empty());
  EXPECT_FALSE(Get(NextTicketEnd(*Read(), run.id, now_)));
}

TEST_F(ResumesTest, ATicketOfAnotherRunLeasesTheRunsCheckpoint) {
  const RunRow source = MakeRun("a"), fine_tuned = MakeRun("b");
  const uint64_t id = Push(source, {.step = 1});
  Ticket(fine_tuned, 1, id);
  EXPECT_THAT(Get(ListTicketed(*Read(), source.id, now_)), ElementsAre(id));
  EXPECT_TRUE(Get(ListTicketed(*Read(), fine_tuned.id, now_)).empty());
  EXPECT_EQ(Get(NextTicketEnd(*Read(), source.id, now_)), now_ + absl::Hours(1));
  EXPECT_FALSE(Get(NextTicketEnd(*Read(), fine_tuned.id, now_)));
}

TEST_F(ResumesTest, AStartFromScratchLeasesNothing) {
  const RunRow run = MakeRun("a");
  Ticket(run, 1, 0);
  EXPECT_TRUE(Get(ListTicketed(*Read(), run.id, now_)).empty());
}

TEST_F(ResumesTest, UnknownTicketsAreNotFound) {
  auto txn = Write();
  EXPECT_EQ(ckpt::ReasonOf(ExtendTicket(*txn, 99, now_)), ckpt::reason::kTicketNotFound);
  EXPECT_EQ(ckpt::ReasonOf(InsertReport(*txn, 99, 0, true, "", false, now_).status()),
            ckpt::reason::kTicketNotFound);
  TicketRow ticket;
  ticket.run_id = 99;
  EXPECT_EQ(InsertTicket(*txn, ticket).status().code(), absl::StatusCode::kNotFound);
}

TEST_F(ResumesTest, FruitlessResumesCountUntilTheNextCommitWhateverTheClockSays) {
  const RunRow run = MakeRun("a"), other = MakeRun("b");
  const uint64_t id = Push(run, {.step = 1});
  const auto fruitless = [&] { return Get(CountFruitlessResumes(*Read(), run.id, id)); };
  EXPECT_EQ(fruitless(), 0u);
  Ticket(run, 2, id);
  now_ -= absl::Hours(10);
  Ticket(run, 3, id);
  EXPECT_EQ(fruitless(), 2u);
  Push(other, {.step = 1});
  EXPECT_EQ(fruitless(), 2u) << "another run's commit counted";
  Push(run, {.step = 2, .attempt = 3});
  EXPECT_EQ(fruitless(), 0u);
  Ticket(run, 4, id);
  EXPECT_EQ(fruitless(), 1u);
}

TEST_F(ResumesTest, EventsRoundTripNewestFirstAndPaged) {
  const RunRow run = MakeRun("a"), other = MakeRun("b");
  Change([&](WriteTxn& txn) {
    for (uint64_t i = 1; i <= 4; ++i) {
      ckpt::Event event;
      event.at = now_ + absl::Seconds(i);
      event.kind = ckpt::Event::Kind::kCommitted;
      event.checkpoint_id = i % 2;
      event.step = 10 * i;
      event.text = fmt::format("event {}", i);
      Do(InsertEvent(txn, run.id, event));
    }
    Do(InsertEvent(txn, other.id, {}));
  });
  const auto steps = [&](uint64_t checkpoint_id, uint64_t before_id, uint32_t limit) {
    std::vector<uint64_t> result;
    for (const auto& event : Get(ListEvents(*Read(), run.id, checkpoint_id, before_id, limit))) {
      result.push_back(event.step);
    }
    return result;
  };
  EXPECT_THAT(steps(0, 0, 0), ElementsAre(40, 30, 20, 10));
  EXPECT_THAT(steps(0, 0, 2), ElementsAre(40, 30));
  EXPECT_THAT(steps(0, 3, 2), ElementsAre(20, 10));
  EXPECT_THAT(steps(1, 0, 0), ElementsAre(30, 10));
  EXPECT_THAT(steps(1, 3, 0), ElementsAre(10));
  const ckpt::Event newest = Get(ListEvents(*Read(), run.id, 0, 0, 1))[0];
  EXPECT_EQ(newest.at, now_ + absl::Seconds(4));
  EXPECT_EQ(newest.kind, ckpt::Event::Kind::kCommitted);
  EXPECT_EQ(newest.text, "event 4");
  EXPECT_EQ(newest.id, 4u);
}

}  // namespace
}  // namespace ckptd::catalog
