#include "client/libtorch/training_state.h"

#include <set>

#include <fmt/ranges.h>

#include "client/libtorch/objects.h"
#include "client/libtorch/optimizers.h"
#include "client/libtorch/snapshot.h"
#include "client/libtorch/tensors.h"
#include "proto/names.h"

namespace ckpt::libtorch {

TrainingState::TrainingState() = default;
TrainingState::~TrainingState() = default;
TrainingState::TrainingState(TrainingState&&) noexcept = default;
TrainingState& TrainingState::operator=(TrainingState&&) noexcept = default;

// ---- Adding -------------------------------------------------------------------

void TrainingState::AddObject(const std::string& name, std::unique_ptr<Object> object) {
  absl::Status status = CheckEntryName(name);
  if (status.ok() && (name.find('/') != std::string::npos || name == kStateDocument)) {
    status = BadField("name", fmt::format("\"{}\" cannot name an object of a training state; use a "
                                          "word without a slash that is not {}.",
                                          Printable(name), kStateDocument));
  }
  for (const auto& [taken, unused] : objects_) {
    if (taken == name) {
      status = BadField("name", fmt::format("The training state has two objects named \"{}\"; "
                                            "give each its own name.",
                                            Printable(name)));
    }
  }
  bad_add_.Update(status);
  objects_.emplace_back(name, std::move(object));
}

void TrainingState::Add(const std::string& name, torch::nn::Module& module) {
  AddObject(name, ModuleObject(module));
}
void TrainingState::Add(const std::string& name, torch::optim::Optimizer& optimizer) {
  bad_add_.Update(OptimizerType(optimizer).status());
  AddObject(name, OptimizerObject(optimizer));
}
void TrainingState::Add(const std::string& name, Scheduler& scheduler) {
  AddObject(name, FieldsObject("scheduler", scheduler.type(), scheduler.Fields()));
}
void TrainingState::Add(const std::string& name, torch::Tensor* tensor) {
  AddObject(name, TensorObject(tensor));
}
void TrainingState::Add(const std::string& name, std::vector<Field> fields) {
  AddObject(name, FieldsObject("sampler", "", std::move(fields)));
}
void TrainingState::AddValue(const std::string& name, Field field) {
  AddObject(name, ValueObject(std::move(field)));
}
void TrainingState::AddBytes(const std::string& name, std::string* bytes) {
  AddObject(name, BytesObject(bytes));
}
void TrainingState::AddRng() { AddObject("rng", RngObject()); }

// ---- Save ---------------------------------------------------------------------

absl::StatusOr<State> TrainingState::Capture() const {
  RETURN_IF_ERROR(bad_add_);
  return Guarded("capturing the training state", [&]() -> absl::StatusOr<State> {
    State state;
    nlohmann::json document = {{"format", kStateFormat}, {"objects", nlohmann::json::object()}};
    for (const auto& [name, object] : objects_) {
      RETURN_IF_ERROR(object->Capture(name, state, document["objects"][name]));
    }
    state.AddBytes(kStateDocument, DumpStateDocument(document));
    return state;
  });
}

absl::StatusOr<uint64_t> TrainingState::ExpectedBytes() const {
  ASSIGN_OR_RETURN(const State state, Capture());
  ASSIGN_OR_RETURN(const std::vector<Entry> entries, ManifestEntries(state));
  uint64_t bytes = 0;
  for (const Entry& entry : entries) bytes += entry.length;
  for (const auto& [name, object] : objects_) bytes += object->BytesToCome();
  return bytes;
}

absl::StatusOr<SaveOutcome> TrainingState::Save(Checkpointer& checkpointer, uint64_t step,
                                                const SaveOptions& options) const {
  ASSIGN_OR_RETURN(const State state, Capture());
  return checkpointer.Save(step, state, options);
}

// ---- Load ---------------------------------------------------------------------

absl::StatusOr<LoadSummary> TrainingState::Load(const LoadSource& source,
                                                const LoadOptions& options) const {
  RETURN_IF_ERROR(bad_add_);
  std::string document;
  if (const Entry* entry = source.manifest->Find(kStateDocument); entry != nullptr) {
    document.resize(entry->length);
    Destination destination;
    destination.entry = kStateDocument;
    destination.data = reinterpret_cast<std::byte*>(document.data());
    RETURN_IF_ERROR(source.fetch({destination}));
  }
  ASSIGN_OR_RETURN(const Snapshot snapshot, Snapshot::Open(*source.manifest, document));

  return Guarded("loading the training state", [&]() -> absl::StatusOr<LoadSummary> {
    LoadSummary summary;
    LoadPlan plan;
    std::set<std::string> known;
    for (const auto& [name, object] : objects_) {
      known.insert(name);
      Problems problems;
      object->Plan(name, snapshot, plan, problems);
      if (!problems.empty()) summary.mismatches.push_back(problems.Text(object->Title(name)));
    }
    for (std::string& name : snapshot.ObjectNames()) {
      if (!known.contains(name)) summary.ignored.push_back(std::move(name));
    }
    if (options.strict && !summary.mismatches.empty()) {
      return absl::FailedPreconditionError(fmt::format("{}", fmt::join(summary.mismatches, "\n")));
    }
    RETURN_IF_ERROR(source.fetch(plan.destinations));
    for (const auto& step : plan.finish) step();
    return summary;
  });
}

absl::StatusOr<LoadSummary> TrainingState::Load(Client& client, const RunName& run,
                                                const std::string& selector,
                                                const LoadOptions& options) const {
  ASSIGN_OR_RETURN(const Selector parsed, ParseSelector(selector));
  ASSIGN_OR_RETURN(const Resolved resolved, client.Resolve(run, parsed));
  ASSIGN_OR_RETURN(const Manifest manifest, client.GetManifest(resolved.checkpoint.id, 0));
  return Load({&manifest,
               [&](const std::vector<Destination>& destinations) {
                 return FetchInto(client, resolved.checkpoint.id, 0, manifest, destinations,
                                  options.progress);
               }},
              options);
}

absl::StatusOr<ResumeResult> TrainingState::Resume(Checkpointer& checkpointer,
                                                   const std::string& selector,
                                                   const LoadOptions& options) const {
  RETURN_IF_ERROR(bad_add_);
  ASSIGN_OR_RETURN(const Selector parsed, ParseSelector(selector));
  ASSIGN_OR_RETURN(Resumed resumed, checkpointer.Resume(parsed));
  ResumeResult result;
  result.outcome = resumed.answer.outcome;
  result.explanation = resumed.answer.explanation;
  result.checkpoint = resumed.checkpoint;
  // A state that cannot be measured is the save's to report.
  const auto prepare = [&] {
    if (const auto bytes = ExpectedBytes(); bytes.ok()) checkpointer.Reserve(*bytes);
  };
  if (!resumed.checkpoint) {
    prepare();
    return result;
  }

  Client& client = checkpointer.client();
  absl::StatusOr<LoadSummary> loaded =
      Load({&resumed.manifest,
            [&](const std::vector<Destination>& destinations) {
              return FetchInto(client, resumed.checkpoint->id, resumed.shard, resumed.manifest,
                               destinations, options.progress);
            }},
           options);
  // A state that does not fit is the program's fault, damaged bytes are the
  // checkpoint's.
  const bool at_fault = loaded.status().code() == absl::StatusCode::kDataLoss;
  const absl::Status reported = checkpointer.ReportLoad(resumed, loaded.status(), at_fault);
  RETURN_IF_ERROR(loaded.status());
  RETURN_IF_ERROR(reported);
  result.summary = *std::move(loaded);
  prepare();
  return result;
}

}  // namespace ckpt::libtorch
