#include "tests/unit/daemon/retention/table.h"

#include <algorithm>

#include <gmock/gmock.h>

#include "tests/unit/daemon/retention/history.h"

namespace ckptd::retention {

void ExpectAll(std::initializer_list<Row> rows) {
  for (const Row& row : rows) {
    SCOPED_TRACE(std::string(row.says) + "\n  policy:  " + row.policy +
                 "\n  history: " + row.history);
    const ckpt::Policy policy = ParsePolicy(row.policy);
    std::vector<Candidate> history = ParseHistory(row.history);
    EXPECT_THAT(ToLines(history, Judge(policy, history, Noon())),
                testing::ElementsAreArray(row.then));

    std::vector<std::string> backwards(row.then.rbegin(), row.then.rend());
    std::reverse(history.begin(), history.end());
    EXPECT_THAT(ToLines(history, Judge(policy, history, Noon())),
                testing::ElementsAreArray(backwards))
        << "backwards";
  }
}

}  // namespace ckptd::retention
