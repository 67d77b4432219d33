// A training job's state, named object by object: captured into a checkpoint
// and restored from one, bit for bit.
//
//   libtorch::TrainingState state;
//   state.Add("model", model);
//   state.Add("optimizer", optimizer);
//   state.Add("scheduler", scheduler);
//   state.Add("epoch", &epoch);
//   state.AddRng();
//   ASSIGN_OR_RETURN(auto resumed, state.Resume(*checkpointer, "latest"));
//   for (...) RETURN_IF_ERROR(state.Save(*checkpointer, step, {{"val_loss", loss}}).status());
//
// It refers to what was added, which must outlive it. client/state.h tells how
// the objects become entries. Nothing of LibTorch is thrown through here. Not
// thread-safe, and no object may change while a call runs.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include <torch/nn/module.h>
#include <torch/optim/optimizer.h>

#include "client/checkpointer.h"
#include "client/libtorch/field.h"
#include "client/libtorch/schedulers.h"
#include "client/state.h"

namespace ckpt::libtorch {

class Object;  // objects.h

struct LoadOptions {
  // Every key must be there, and no other, with the shape and dtype it has
  // here. False: what fits is loaded, and the summary lists the rest.
  bool strict = true;
  ProgressFn progress;
};

struct LoadSummary {
  // What does not fit, one text an object as the strict error has it; empty
  // after a strict load.
  std::vector<std::string> mismatches;
  // Objects of the checkpoint that were not asked for.
  std::vector<std::string> ignored;
};

struct ResumeResult {
  ResumeOutcome outcome = ResumeOutcome::kNewRun;
  std::optional<Checkpoint> checkpoint;  // absent: start from scratch
  std::string explanation;               // one sentence
  LoadSummary summary;

  bool resumed() const { return checkpoint.has_value(); }
};

// Where a checkpoint's bytes come from. `fetch` fills destinations.
struct LoadSource {
  const Manifest* manifest = nullptr;
  std::function<absl::Status(const std::vector<Destination>&)> fetch;
};

class TrainingState {
 public:
  TrainingState();
  ~TrainingState();
  TrainingState(TrainingState&&) noexcept;
  TrainingState& operator=(TrainingState&&) noexcept;

  // An object's name is a word without `/`. A name that is wrong or given
  // twice, and an optimizer that cannot be saved, are errors of the next
  // Capture or Load.
  void Add(const std::string& name, torch::nn::Module& module);
  template <class Module>
  void Add(const std::string& name, torch::nn::ModuleHolder<Module>& holder) {
    Add(name, static_cast<torch::nn::Module&>(*holder));
  }
  void Add(const std::string& name, torch::optim::Optimizer& optimizer);
  void Add(const std::string& name, Scheduler& scheduler);
  // Loaded into the tensor's own memory; an undefined one is made on loading.
  void Add(const std::string& name, torch::Tensor* tensor);
  // bool, integers, double, std::string (UTF-8) and std::vector of these.
  template <class T>
  void Add(const std::string& name, T* value) {
    AddValue(name, Field("value", value));
  }
  // Several values as one object: the data sampler's position.
  //   state.Add("sampler", {{"epoch", &sampler.epoch}, {"position", &sampler.position}});
  void Add(const std::string& name, std::vector<Field> fields);
  // Any bytes, such as another generator's state.
  void AddBytes(const std::string& name, std::string* bytes);
  // LibTorch's default generators as "rng": the CPU's, and those of all CUDA
  // devices. Of another number of devices, those that are there are restored.
  void AddRng();

  // Views what lies in main memory: keep the objects as they are until
  // Checkpointer::Save has returned. INVALID_ARGUMENT, UNIMPLEMENTED: an
  // object that cannot be saved.
  absl::StatusOr<State> Capture() const;
  // Capture and Checkpointer::Save.
  absl::StatusOr<SaveOutcome> Save(Checkpointer& checkpointer, uint64_t step,
                                   const SaveOptions& options = {}) const;
  absl::StatusOr<SaveOutcome> Save(Checkpointer& checkpointer, uint64_t step,
                                   Metrics metrics) const {
    return Save(checkpointer, step, SaveOptions{.metrics = std::move(metrics)});
  }

  // How long a checkpoint of it will be, about: what Capture has now and the
  // optimizers' state that their first step will make.
  absl::StatusOr<uint64_t> ExpectedBytes() const;

  // Asks where to go on, loads it, tells the daemon how that went, and has the
  // checkpointer make memory ready for the first save.
  // FAILED_PRECONDITION: it does not fit; one text lists everything, and
  // nothing was fetched or changed. Others as Checkpointer::Resume and Load.
  absl::StatusOr<ResumeResult> Resume(Checkpointer& checkpointer,
                                      const std::string& selector = "latest",
                                      const LoadOptions& options = {}) const;

  // The same from any checkpoint, without an attempt: to evaluate a model, or
  // to begin from another's weights. When fetching itself fails, tensors may
  // have been written already.
  absl::StatusOr<LoadSummary> Load(const LoadSource& source, const LoadOptions& options = {}) const;
  absl::StatusOr<LoadSummary> Load(Client& client, const RunName& run,
                                   const std::string& selector = "latest",
                                   const LoadOptions& options = {}) const;

 private:
  void AddObject(const std::string& name, std::unique_ptr<Object> object);
  void AddValue(const std::string& name, Field field);

  std::vector<std::pair<std::string, std::unique_ptr<Object>>> objects_;
  absl::Status bad_add_;
};

}  // namespace ckpt::libtorch
