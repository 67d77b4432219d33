// The answers as JSON, for programs. JSON.md is the manual; names there are
// stable: new ones may come, none goes or changes its meaning.
#pragma once

#include <nlohmann/json.hpp>

#include "client/client.h"
#include "proto/model.h"

namespace ckpt::ctl {

// In the order of writing: readers of the text see the important first.
using Json = nlohmann::ordered_json;

Json ToJson(const Checkpoint& checkpoint);
Json ToJson(const Run& run);
Json ToJson(const Policy& policy);
Json ToJson(const Budget& budget);
Json ToJson(const Quota& quota);
Json ToJson(const Token& token);
Json ToJson(const Event& event);
Json ToJson(const Timeline& timeline);
Json ToJson(const Scrub& scrub);
Json ToJson(const CatalogBackup& backup);
Json ToJson(const Stats& stats);
Json ToJson(const PruneResult& result, bool dry_run);
Json ToJson(const Damage& damage);
Json ToJson(const Entry& entry);

// A number; NaN and infinities, which JSON lacks, as "nan", "inf", "-inf".
Json NumberToJson(double value);
// "COMMITTED" -> "committed".
std::string EventKindName(Event::Kind kind);

}  // namespace ckpt::ctl
