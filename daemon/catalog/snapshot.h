// The whole catalog as rows, in pieces: what a new catalog is filled from. Rows
// and not pages, so that damage to an index or to a page that holds nothing is
// not carried along, and any schema since can read it.
//
// A piece is a list of items, none of which goes on in the next one:
//   'T'  a table: its name, the number of its columns, their names
//   'R'  a row of the table named last: a value for each column
// A name is 4 bytes of length and its bytes; a value 1 byte of type ('n' null,
// 'i' and 'f' 8 bytes, 't' text and 'b' blob with 4 bytes of length).
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "daemon/catalog/sqlite.h"
#include "proto/status.h"

namespace ckptd::catalog {

// In the transaction that `db` is in: all tables but `position`. `sink` gets one
// piece after the other; its failure ends it.
absl::Status WriteRows(Connection& db, const std::function<absl::Status(std::string_view)>& sink);

// Fills the empty tables of `db`, in a transaction of the caller's, foreign keys
// off. DATA_LOSS/CATALOG_DAMAGED for pieces that WriteRows did not write.
class RowLoader {
 public:
  explicit RowLoader(Connection& db);
  ~RowLoader();
  absl::Status Load(std::string_view piece);

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace ckptd::catalog
