// What calls that change something answered, by the id that the client gave
// them, so that a call whose answer was lost is not made twice.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "daemon/catalog/catalog.h"
#include "proto/digest.h"

namespace ckptd::catalog {

// One call of a client's, the same in all its tries.
struct RequestKey {
  std::string id;        // chosen by the client; empty: the call cannot be told from others
  std::string method;    // "Unpin"
  ckpt::Digest request;  // of the message
};

// The serialized answer of the call; nothing when there is none.
// INVALID_ARGUMENT/REQUEST_ID_REUSED: the id was given to another call, or to
// this one with another request.
absl::StatusOr<std::optional<std::string>> FindAnswer(ReadTxn& txn, const RequestKey& key);
// ABORTED when the id has an answer: roll back, and answer with that.
absl::Status InsertAnswer(WriteTxn& txn, const RequestKey& key, const std::string& answer,
                          absl::Time now);
// Forgets those given before `before`, at most `limit`, oldest first. How many.
absl::StatusOr<int64_t> DeleteAnswers(WriteTxn& txn, absl::Time before, uint32_t limit);
// When the oldest one was given.
absl::StatusOr<std::optional<absl::Time>> OldestAnswer(ReadTxn& txn);

}  // namespace ckptd::catalog
