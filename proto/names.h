// What may be a name. A name never becomes part of a path; these rules exist
// so that names can be read, typed and put in a RUN@SELECTOR reference.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "proto/model.h"
#include "proto/status.h"

namespace ckpt {

// Project and run: 1 to 128 of [A-Za-z0-9._-], first a letter or digit.
// `what` ("run name") begins the sentence of the INVALID_ARGUMENT.
absl::Status CheckName(std::string_view what, std::string_view name);
// Alias, pin, metric: as above, and `/` is allowed.
absl::Status CheckLabelName(std::string_view what, std::string_view name);
// CheckLabelName, and not one that a selector reads otherwise: `latest`,
// `best`, or digits only.
absl::Status CheckAlias(std::string_view alias);
// 1 to 1024 bytes of UTF-8 without control characters.
absl::Status CheckEntryName(std::string_view name);

// "project/run" or "run" (project `default`). INVALID_ARGUMENT says what is wrong.
absl::StatusOr<RunName> ParseRunName(std::string_view text);

// "latest", "best", "best:METRIC", "step:N", "N" (a step), "id:N", or an alias.
absl::StatusOr<Selector> ParseSelector(std::string_view text);
std::string ToString(const Selector& selector);

// "RUN@SELECTOR"; without "@SELECTOR" the selector is absent.
struct CheckpointRef {
  RunName run;
  std::optional<Selector> selector;
};
absl::StatusOr<CheckpointRef> ParseCheckpointRef(std::string_view text);

// `text` made safe to print on one terminal line, at most `max_bytes` of it:
// control characters and bytes that are not UTF-8 are escaped as \xNN.
std::string Printable(std::string_view text, size_t max_bytes = 80);

}  // namespace ckpt
