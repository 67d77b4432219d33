// What a checkpoint holds, as the adapter compares it with what is there: its
// manifest and its document; and what was found not to fit.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "client/libtorch/field.h"
#include "proto/model.h"
#include "proto/status.h"

namespace ckpt::libtorch {

// Refers to the manifest, which must outlive it.
class Snapshot {
 public:
  // INVALID_ARGUMENT when `document` (the bytes of `ckpt.json`; empty: the
  // checkpoint has none) cannot be read.
  static absl::StatusOr<Snapshot> Open(const Manifest& manifest, const std::string& document);

  const Entry* Find(const std::string& name) const;
  // The rest of the names that begin with `prefix`, in alphabetical order.
  std::vector<std::string> KeysUnder(std::string_view prefix) const;
  // What the document says of an object; nullptr when it names none so.
  const nlohmann::json* Object(const std::string& name) const;
  std::vector<std::string> ObjectNames() const;

 private:
  std::map<std::string_view, const Entry*> entries_;
  nlohmann::json document_;
};

// What does not fit in one object, in the words of PyTorch's load_state_dict.
struct Problems {
  std::vector<std::string> missing;     // keys
  std::vector<std::string> unexpected;  // keys
  std::vector<std::string> errors;      // whole sentences

  bool empty() const { return missing.empty() && unexpected.empty() && errors.empty(); }
  // "Error(s) in loading state_dict for Linear:\n\tMissing key(s) ..."
  std::string Text(std::string_view object) const;
};

// Compares `state` (a JSON object) with `fields` and gives what fits: (field,
// value to set). `prefix` begins the keys in `problems`.
// Values in `state` that are null or false and that no field wants are let
// pass: they are switches of another library's, and off.
std::vector<std::pair<Field, nlohmann::json>> MatchFields(const std::vector<Field>& fields,
                                                          const nlohmann::json& state,
                                                          const std::string& prefix,
                                                          Problems& problems);

}  // namespace ckpt::libtorch
