// A table of retention cases: given a history, when judged by a policy, then
// these checkpoints stay and go, for these reasons.
#pragma once

#include <initializer_list>
#include <string>
#include <vector>

namespace ckptd::retention {

struct Row {
  const char* says;               // the case, as a sentence
  const char* policy;             // ParsePolicy
  const char* history;            // ParseHistory
  std::vector<std::string> then;  // ToLines, in the history's order
};

// Judges every row at Noon(), and also the row's history backwards.
void ExpectAll(std::initializer_list<Row> rows);

}  // namespace ckptd::retention
