#include "client/libtorch/objects.h"

#include <cstring>
#include <set>
#include <utility>

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Context.h>
#include <torch/cuda.h>

#include "client/libtorch/optimizers.h"

namespace ckpt::libtorch {
namespace {

using nlohmann::json;

// What the document says of an object; empty when it says nothing.
const json& Described(const Snapshot& snapshot, const std::string& name) {
  static const json kNone = json::object();
  const json* object = snapshot.Object(name);
  return object == nullptr ? kNone : *object;
}

// Plans to fetch `entry` into `tensor` unless shape or dtype differ.
void PlanTensor(const Entry& entry, const std::string& key, const torch::Tensor& tensor,
                LoadPlan& plan, Problems& problems) {
  const DType dtype = DTypeOf(tensor.scalar_type());
  if (entry.shape != tensor.sizes().vec()) {
    problems.errors.push_back(
        fmt::format("size mismatch for {}: copying a param with shape {} from checkpoint, the "
                    "shape in current model is {}.",
                    key, TorchSize(entry.shape), TorchSize(tensor.sizes().vec())));
  } else if (entry.dtype != dtype) {
    problems.errors.push_back(
        fmt::format("dtype mismatch for {}: copying a param with dtype {} from checkpoint, the "
                    "dtype in current model is {}.",
                    key, TorchDTypeName(entry.dtype), TorchDTypeName(dtype)));
  } else {
    plan.Into(entry, tensor);
  }
}

// ---- Modules ------------------------------------------------------------------

class ModuleImpl : public Object {
 public:
  explicit ModuleImpl(torch::nn::Module& module) : module_(module) {}

  std::string Title(const std::string&) const override {
    return ShortTypeName(module_.name().c_str());
  }

  absl::Status Capture(const std::string& name, State& state, json& object) const override {
    object = {{"kind", "module"}, {"keys", json::array()}};
    for (const auto& [key, tensor] : Tensors()) {
      object["keys"].push_back(key);
      ASSIGN_OR_RETURN(StateEntry entry, TensorEntry(name + "/" + key, tensor));
      state.Add(std::move(entry));
    }
    return absl::OkStatus();
  }

  void Plan(const std::string& name, const Snapshot& snapshot, LoadPlan& plan,
            Problems& problems) const override {
    std::set<std::string> wanted;
    for (const auto& [key, tensor] : Tensors()) {
      wanted.insert(key);
      const Entry* entry = snapshot.Find(name + "/" + key);
      if (entry == nullptr) {
        problems.missing.push_back(key);
      } else {
        PlanTensor(*entry, key, tensor, plan, problems);
      }
    }
    for (std::string& key : snapshot.KeysUnder(name + "/")) {
      if (!wanted.contains(key)) problems.unexpected.push_back(std::move(key));
    }
  }

 private:
  // Parameters, then buffers. Detached: they are read and written, not learned.
  std::vector<std::pair<std::string, torch::Tensor>> Tensors() const {
    std::vector<std::pair<std::string, torch::Tensor>> tensors;
    for (const auto& item : module_.named_parameters()) {
      tensors.emplace_back(item.key(), item.value().detach());
    }
    for (const auto& item : module_.named_buffers()) {
      if (item.value().defined()) tensors.emplace_back(item.key(), item.value().detach());
    }
    return tensors;
  }

  torch::nn::Module& module_;
};

// ---- Optimizers ---------------------------------------------------------------

class OptimizerImpl : public Object {
 public:
  explicit OptimizerImpl(torch::optim::Optimizer& optimizer) : optimizer_(optimizer) {}

  std::string Title(const std::string& name) const override {
    return fmt::format("{} ({})", name, OptimizerType(optimizer_).value_or("unknown"));
  }
  absl::Status Capture(const std::string& name, State& state, json& object) const override {
    return CaptureOptimizer(name, optimizer_, state, object);
  }
  uint64_t BytesToCome() const override { return OptimizerBytesToCome(optimizer_); }
  void Plan(const std::string& name, const Snapshot& snapshot, LoadPlan& plan,
            Problems& problems) const override {
    if (snapshot.Object(name) == nullptr) {
      problems.missing.push_back(name);
      return;
    }
    PlanOptimizer(name, optimizer_, snapshot, plan, problems);
  }

 private:
  torch::optim::Optimizer& optimizer_;
};

// ---- Fields and values --------------------------------------------------------

class FieldsImpl : public Object {
 public:
  FieldsImpl(std::string kind, std::string type, std::vector<Field> fields)
      : kind_(std::move(kind)), type_(std::move(type)), fields_(std::move(fields)) {}

  std::string Title(const std::string& name) const override {
    return type_.empty() ? name : fmt::format("{} ({})", name, type_);
  }

  absl::Status Capture(const std::string&, State&, json& object) const override {
    object = {{"kind", kind_}, {"state", json::object()}};
    if (!type_.empty()) object["type"] = type_;
    for (const Field& field : fields_) object["state"][field.name()] = field.Get();
    return absl::OkStatus();
  }

  void Plan(const std::string& name, const Snapshot& snapshot, LoadPlan& plan,
            Problems& problems) const override {
    const json& object = Described(snapshot, name);
    const std::string type = object.value("type", type_);
    if (type != type_) {
      problems.errors.push_back(
          fmt::format("type mismatch: the checkpoint has the state of {}, the current one is {}.",
                      type, type_));
      return;
    }
    const auto matched = MatchFields(fields_, object.value("state", json::object()), "", problems);
    plan.finish.push_back([matched] {
      for (const auto& [field, value] : matched) field.Set(value);
    });
  }

 private:
  const std::string kind_, type_;
  const std::vector<Field> fields_;
};

class ValueImpl : public Object {
 public:
  explicit ValueImpl(Field field) : field_(std::move(field)) {}

  std::string Title(const std::string& name) const override { return name; }
  absl::Status Capture(const std::string&, State&, json& object) const override {
    object = {{"kind", "value"}, {field_.name(), field_.Get()}};
    return absl::OkStatus();
  }
  void Plan(const std::string& name, const Snapshot& snapshot, LoadPlan& plan,
            Problems& problems) const override {
    json object = Described(snapshot, name);
    object.erase("kind");
    const auto matched = MatchFields({field_}, object, "", problems);
    plan.finish.push_back([matched] {
      for (const auto& [field, value] : matched) field.Set(value);
    });
  }

 private:
  const Field field_;
};

// ---- Tensors and bytes --------------------------------------------------------

class TensorImpl : public Object {
 public:
  explicit TensorImpl(torch::Tensor* tensor) : tensor_(tensor) {}

  std::string Title(const std::string& name) const override { return name; }
  absl::Status Capture(const std::string& name, State& state, json& object) const override {
    object = {{"kind", "tensor"}};
    ASSIGN_OR_RETURN(StateEntry entry, TensorEntry(name, *tensor_));
    state.Add(std::move(entry));
    return absl::OkStatus();
  }
  void Plan(const std::string& name, const Snapshot& snapshot, LoadPlan& plan,
            Problems& problems) const override {
    const Entry* entry = snapshot.Find(name);
    if (entry == nullptr) {
      problems.missing.push_back(name);
    } else if (tensor_->defined()) {
      PlanTensor(*entry, name, tensor_->detach(), plan, problems);
    } else if (const auto type = ScalarTypeOf(entry->dtype)) {
      torch::Tensor made = torch::empty(entry->shape, torch::dtype(*type));
      plan.Into(*entry, made);
      plan.finish.push_back([into = tensor_, made] { *into = made; });
    } else {
      problems.errors.push_back(fmt::format("dtype mismatch for {}: LibTorch has no tensors of {}.",
                                            name, DTypeName(entry->dtype)));
    }
  }

 private:
  torch::Tensor* const tensor_;
};

class BytesImpl : public Object {
 public:
  explicit BytesImpl(std::string* bytes) : bytes_(bytes) {}

  std::string Title(const std::string& name) const override { return name; }
  absl::Status Capture(const std::string& name, State& state, json& object) const override {
    object = {{"kind", "bytes"}};
    state.AddBytesView(name, bytes_->data(), bytes_->size());
    return absl::OkStatus();
  }
  void Plan(const std::string& name, const Snapshot& snapshot, LoadPlan& plan,
            Problems& problems) const override {
    const Entry* entry = snapshot.Find(name);
    if (entry == nullptr) {
      problems.missing.push_back(name);
      return;
    }
    auto fetched = std::make_shared<std::string>(entry->length, '\0');
    if (entry->length > 0) {
      Destination destination;
      destination.entry = name;
      destination.data = reinterpret_cast<std::byte*>(fetched->data());
      plan.destinations.push_back(std::move(destination));
    }
    plan.finish.push_back([into = bytes_, fetched] { *into = *fetched; });
  }

 private:
  std::string* const bytes_;
};

// ---- RNG ----------------------------------------------------------------------

// The default generators, each with the key it has under "rng".
std::vector<std::pair<std::string, at::Generator>> Generators() {
  std::vector<std::pair<std::string, at::Generator>> generators;
  generators.emplace_back("cpu", at::detail::getDefaultCPUGenerator());
  const size_t devices = torch::cuda::is_available() ? torch::cuda::device_count() : 0;
  for (size_t i = 0; i < devices; ++i) {
    const at::Device device(at::kCUDA, static_cast<c10::DeviceIndex>(i));
    generators.emplace_back(fmt::format("cuda/{}", i),
                            at::globalContext().defaultGenerator(device));
  }
  return generators;
}

torch::Tensor GeneratorState(at::Generator& generator) {
  const std::lock_guard<std::mutex> lock(generator.mutex());
  return generator.get_state();
}

class RngImpl : public Object {
 public:
  std::string Title(const std::string& name) const override { return name; }

  absl::Status Capture(const std::string& name, State& state, json& object) const override {
    object = {{"kind", "rng"}};
    for (auto& [key, generator] : Generators()) {
      const torch::Tensor bytes = GeneratorState(generator);
      state.AddBytes(name + "/" + key, std::string(static_cast<const char*>(bytes.data_ptr()),
                                                   static_cast<size_t>(bytes.numel())));
    }
    return absl::OkStatus();
  }

  void Plan(const std::string& name, const Snapshot& snapshot, LoadPlan& plan,
            Problems& problems) const override {
    for (auto& [key, generator] : Generators()) {
      const Entry* entry = snapshot.Find(name + "/" + key);
      if (entry == nullptr) {
        // A checkpoint of a machine with fewer GPUs says nothing of the others.
        if (key == "cpu") problems.missing.push_back(key);
        continue;
      }
      const torch::Tensor current = GeneratorState(generator);
      if (entry->length != static_cast<uint64_t>(current.numel())) {
        problems.errors.push_back(
            fmt::format("size mismatch for {}: the checkpoint has a generator's state of {} bytes, "
                        "this LibTorch's has {}.",
                        key, entry->length, current.numel()));
        continue;
      }
      const torch::Tensor stored = torch::empty_like(current);
      plan.Into(*entry, stored);
      plan.finish.push_back([generator = generator, stored]() mutable {
        const std::lock_guard<std::mutex> lock(generator.mutex());
        generator.set_state(stored);
      });
    }
  }
};

}  // namespace

std::unique_ptr<Object> ModuleObject(torch::nn::Module& module) {
  return std::make_unique<ModuleImpl>(module);
}
std::unique_ptr<Object> OptimizerObject(torch::optim::Optimizer& optimizer) {
  return std::make_unique<OptimizerImpl>(optimizer);
}
std::unique_ptr<Object> FieldsObject(std::string kind, std::string type,
                                     std::vector<Field> fields) {
  return std::make_unique<FieldsImpl>(std::move(kind), std::move(type), std::move(fields));
}
std::unique_ptr<Object> ValueObject(Field field) {
  return std::make_unique<ValueImpl>(std::move(field));
}
std::unique_ptr<Object> TensorObject(torch::Tensor* tensor) {
  return std::make_unique<TensorImpl>(tensor);
}
std::unique_ptr<Object> BytesObject(std::string* bytes) {
  return std::make_unique<BytesImpl>(bytes);
}
std::unique_ptr<Object> RngObject() { return std::make_unique<RngImpl>(); }

}  // namespace ckpt::libtorch
