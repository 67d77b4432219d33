// Histories and policies written as one line of text, so that a row of a table
// reads as given, when, then, and a failing input can be printed and pasted.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "daemon/retention/policy.h"

namespace ckptd::retention {

// Tests judge at this time: Tuesday, 2026-11-24 12:00 UTC.
absl::Time Noon();
// "2026-11-24T11:30".
absl::Time At(std::string_view text);

// Candidates separated by `;`, each ID@STEP and then words:
//   NAME=VALUE     a metric (nan, inf, -inf too)
//   pending:NAME   an announced metric
//   at:TIME        committed_at; without it ID minutes after midnight
//   tl:N           timeline (1)      off        not on the current line
//   bytes:N        (100)             damaged    ref    lease
//   pin:NAME       alias:NAME
std::vector<Candidate> ParseHistory(std::string_view text);
std::string ToText(const std::vector<Candidate>& candidates);

// Words: last:N best:METRIC:min:N best:METRIC:max:N every:N within:DURATION
// hourly:N daily:N weekly:N monthly:N yearly:N bytes:N grace:DURATION.
ckpt::Policy ParsePolicy(std::string_view text);
std::string ToText(const ckpt::Policy& policy);

// One line a candidate: "3 kept: last 1/3, pinned: release" or "1 gone: ...".
std::vector<std::string> ToLines(const std::vector<Candidate>& candidates,
                                 const std::vector<ckpt::Verdict>& verdicts);

}  // namespace ckptd::retention
