// The memory of answers.
#include "daemon/catalog/answers.h"
#include "daemon/catalog/migrations.h"
#include "tests/unit/daemon/catalog/fixture.h"

namespace ckptd::catalog {
namespace {

class AnswersTest : public CatalogTest {
 protected:
  static RequestKey Key(const std::string& id, const std::string& method = "Pin",
                        const std::string& request = "request") {
    return {id, method, ckpt::HashBytes(request)};
  }
  void Insert(const std::string& id, const std::string& answer) {
    Change([&](WriteTxn& txn) { Do(InsertAnswer(txn, Key(id), answer, now_)); });
  }
  std::string Find(const RequestKey& key) { return Get(FindAnswer(*Read(), key)).value_or("none"); }
};

TEST_F(AnswersTest, AnAnswerIsGivenAgainAfterReopening) {
  const std::string bytes("an\0swer", 7);
  EXPECT_EQ(Find(Key("a")), "none");
  Insert("a", bytes);
  Insert("b", "");
  Reopen();
  EXPECT_EQ(Find(Key("a")), bytes);
  EXPECT_EQ(Find(Key("b")), "");
  EXPECT_EQ(Find(Key("c")), "none");
}

TEST_F(AnswersTest, AnIdBelongsToOneCallWithOneRequest) {
  Insert("a", "answer");
  for (const RequestKey& key : {Key("a", "Unpin"), Key("a", "Pin", "another")}) {
    const absl::Status status = FindAnswer(*Read(), key).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(ckpt::ReasonOf(status), ckpt::reason::kRequestIdReused);
    EXPECT_THAT(std::string(status.message()), ::testing::HasSubstr("of Pin before"));
  }
}

TEST_F(AnswersTest, TheSecondOfTwoTriesIsRolledBackWithItsEffect) {
  Insert("a", "first");
  {
    auto txn = Write();
    Get(CreateRun(*txn, {"default", "effect"}, std::nullopt, now_));
    EXPECT_EQ(InsertAnswer(*txn, Key("a"), "second", now_).code(), absl::StatusCode::kAborted);
  }
  EXPECT_EQ(Find(Key("a")), "first");
  EXPECT_FALSE(Get(FindRun(*Read(), {"default", "effect"})));
}

TEST_F(AnswersTest, OldOnesAreForgottenOldestFirst) {
  const absl::Time start = now_;
  EXPECT_EQ(Get(OldestAnswer(*Read())), std::nullopt);
  for (const int minute : {2, 0, 1, 3}) {
    now_ = start + absl::Minutes(minute);
    Insert(std::to_string(minute), "answer");
  }
  EXPECT_EQ(Get(OldestAnswer(*Read())), start);
  const auto forget = [&](int minutes, uint32_t limit) {
    return Change([&](WriteTxn& txn) {
      return Get(DeleteAnswers(txn, start + absl::Minutes(minutes), limit));
    });
  };
  EXPECT_EQ(forget(0, 9), 0);
  EXPECT_EQ(forget(3, 2), 2);
  EXPECT_EQ(Find(Key("0")) + Find(Key("1")), "nonenone");
  EXPECT_EQ(Get(OldestAnswer(*Read())), start + absl::Minutes(2));
  EXPECT_EQ(forget(3, 9), 1);
  EXPECT_EQ(Find(Key("3")), "answer");
}

TEST_F(AnswersTest, ASchemaWithoutThemGetsThemAndKeepsItsReports) {
  const std::string path = folder_ + "/before";
  {
    auto db = Get(Connection::Open(path, Connection::Mode::kWriter));
    Do(Migrate(*db, 2));
    Do(db->Script(R"sql(
      INSERT INTO projects (id, name) VALUES (1, 'default');
      INSERT INTO runs (id, project_id, name, created_at) VALUES (1, 1, 'a', 0);
      INSERT INTO tickets (id, run_id, attempt, checkpoint_id, newest_checkpoint, selector, outcome,
                           explanation, world_size, opened_at, expires_at)
      VALUES (7, 1, 1, 0, 0, 'latest', 1, '', 2, 0, 0);
      INSERT INTO reports (ticket_id, rank, ok, error, reported_at) VALUES (7, 0, 0, 'no key', 0);
    )sql"));
  }
  auto catalog = Get(Catalog::Open(path));
  auto txn = Get(catalog->BeginWrite());
  EXPECT_FALSE(Get(InsertReport(*txn, 7, 0, false, "no key", false, now_)));
  EXPECT_TRUE(Get(InsertReport(*txn, 7, 0, false, "no key", true, now_)));
  Do(InsertAnswer(*txn, Key("a"), "answer", now_));
  Do(txn->Commit());
  EXPECT_EQ(Get(FindAnswer(*Get(catalog->BeginRead()), Key("a"))), "answer");
  Do(catalog->Check());
}

}  // namespace
}  // namespace ckptd::catalog
