#include "client/ckptctl/files/torch_layout.h"

#include <algorithm>
#include <charconv>
#include <cstring>
#include <set>

#include <nlohmann/json.hpp>

#include "client/state.h"
#include "proto/names.h"

namespace ckpt::ctl {
namespace {

using nlohmann::json;

// What Python's optimizers have in a param_group and LibTorch's do not: off.
PyDict PythonOnlyOptions(const std::string& type) {
  PyDict options;
  const auto off = [&](const char* name) { options.Set(name, false); };
  const auto none = [&](const char* name) { options.Set(name, PyNone{}); };
  if (type == "LBFGS") return options;
  off("maximize");
  none("foreach");
  off("differentiable");
  if (type == "Adam" || type == "AdamW" || type == "RMSprop") off("capturable");
  if (type == "Adam" || type == "AdamW" || type == "SGD" || type == "Adagrad") none("fused");
  if (type == "AdamW") options.Set("decoupled_weight_decay", true);
  if (type == "Adam") options.Set("decoupled_weight_decay", false);
  return options;
}

PyValue FromJson(const json& value, const std::string& key = "") {
  switch (value.type()) {
    case json::value_t::boolean:
      return value.get<bool>();
    case json::value_t::number_integer:
    case json::value_t::number_unsigned:
      return value.get<int64_t>();
    case json::value_t::number_float:
      return value.get<double>();
    case json::value_t::string:
      return value.get<std::string>();
    case json::value_t::array: {
      std::vector<PyValue> items;
      for (const json& item : value) items.push_back(FromJson(item));
      if (key == "betas") return PyTuple{std::move(items)};
      return PyList{std::move(items)};
    }
    case json::value_t::object: {
      if (const auto number = DoubleFromJson(value)) return *number;
      PyDict dict;
      for (const auto& [name, item] : value.items()) dict.Set(name, FromJson(item, name));
      return dict;
    }
    default:
      return PyNone{};
  }
}

// The number in a scalar tensor's bytes.
template <typename T>
double Load(const std::string& bytes) {
  T value;
  std::memcpy(&value, bytes.data(), sizeof(T));
  return static_cast<double>(value);
}
std::optional<double> Scalar(DType dtype, const std::string& bytes) {
  if (bytes.size() != ElementBytes(dtype)) return std::nullopt;
  switch (dtype) {
    case DType::kI64:
      return Load<int64_t>(bytes);
    case DType::kI32:
      return Load<int32_t>(bytes);
    case DType::kF64:
      return Load<double>(bytes);
    case DType::kF32:
      return Load<float>(bytes);
    default:
      return std::nullopt;
  }
}

class Builder {
 public:
  explicit Builder(const ShardView& shard) : shard_(shard) {
    for (size_t i : shard.entries) wanted_.emplace(shard.manifest->entries[i].name, i);
  }

  absl::StatusOr<TorchLayout> Run() {
    if (const auto found = shard_.values.find(kStateDocument); found != shard_.values.end()) {
      ASSIGN_OR_RETURN(const json document, ParseStateDocument(found->second));
      used_.insert(kStateDocument);
      if (const auto objects = document.find("objects");
          objects != document.end() && objects->is_object()) {
        for (const auto& [name, object] : objects->items()) AddObject(name, object);
      }
      AddRest("entries");
    } else {
      AddModel("model_state_dict", "", json());
      AddRest("");
    }
    AddOrigin();
    layout_.root = std::move(root_);
    return std::move(layout_);
  }

 private:
  // ---- Pieces ----------------------------------------------------------------

  void SetRoot(const std::string& key, PyValue value) {
    if (!keys_.insert(key).second) return;
    root_.Set(key, std::move(value));
  }

  PyTensor Literal(DType dtype, std::string bytes) {
    const std::string key = fmt::format("{}", layout_.storages.size());
    layout_.storages.push_back({key, true, 0, std::move(bytes)});
    return {dtype, {}, key};
  }

  // The entry as a tensor; opaque bytes as torch.uint8.
  PyTensor Tensor(size_t index) {
    const Entry& entry = shard_.manifest->entries[index];
    used_.insert(entry.name);
    const std::string key = fmt::format("{}", layout_.storages.size());
    layout_.storages.push_back({key, false, index, ""});
    if (!entry.is_tensor()) return {DType::kU8, {static_cast<int64_t>(entry.length)}, key};
    return {entry.dtype, entry.shape, key};
  }

  std::optional<size_t> Wanted(const std::string& name) const {
    const auto found = wanted_.find(name);
    if (found == wanted_.end()) return std::nullopt;
    return found->second;
  }

  // Wanted entries below `prefix`, as they lie in the manifest.
  std::vector<size_t> Under(const std::string& prefix) const {
    std::vector<size_t> entries;
    for (auto it = wanted_.lower_bound(prefix);
         it != wanted_.end() && it->first.starts_with(prefix); ++it) {
      entries.push_back(it->second);
    }
    std::sort(entries.begin(), entries.end());
    return entries;
  }

  // ---- Objects ---------------------------------------------------------------

  void AddObject(const std::string& name, const json& object) {
    const std::string kind = object.is_object() ? object.value("kind", "") : "";
    if (kind == "module") {
      AddModel(name + "_state_dict", name + "/", object.value("keys", json()));
    } else if (kind == "optimizer") {
      AddOptimizer(name, object);
    } else if (kind == "scheduler" || kind == "sampler") {
      SetRoot(name + "_state_dict", FromJson(object.value("state", json::object())));
    } else if (kind == "value") {
      SetRoot(name, FromJson(object.value("value", json())));
    } else if (kind == "rng") {
      AddRng(name);
    } else if (const auto entry = Wanted(name)) {
      SetRoot(name, Tensor(*entry));
    }
  }

  void AddModel(const std::string& key, const std::string& prefix, const json& keys) {
    PyDict state;
    state.ordered = true;
    if (keys.is_array()) {
      for (const json& name : keys) {
        if (!name.is_string()) continue;
        const auto entry = Wanted(prefix + name.get<std::string>());
        if (entry) state.Set(name.get<std::string>(), Tensor(*entry));
      }
    } else {
      for (size_t i : Under(prefix)) {
        const Entry& entry = shard_.manifest->entries[i];
        if (entry.is_tensor()) state.Set(entry.name.substr(prefix.size()), Tensor(i));
      }
    }
    // Nothing of it was wanted: better absent than empty.
    if (!state.items.empty() || (keys.is_array() && keys.empty())) SetRoot(key, std::move(state));
  }

  void AddOptimizer(const std::string& name, const json& object) {
    const std::string type = object.value("type", "");
    std::map<int64_t, PyDict> states;
    const std::string prefix = name + "/state/";
    for (size_t i : Under(prefix)) {
      const std::string& full = shard_.manifest->entries[i].name;
      int64_t index = 0;
      const char* begin = full.data() + prefix.size();
      const auto [end, error] = std::from_chars(begin, full.data() + full.size(), index);
      if (error != std::errc() || *end != '/') continue;
      AddOptimizerValue(type, states[index], std::string(end + 1), i);
    }
    PyDict state;
    for (auto& [index, values] : states) state.Set(index, std::move(values));

    PyList groups;
    for (const json& stored : object.value("param_groups", json::array())) {
      if (!stored.is_object()) continue;
      PyDict group;
      for (const auto& [key, value] : stored.items()) {
        if (key != "params") group.Set(key, FromJson(value, key));
      }
      for (auto& [key, value] : PythonOnlyOptions(type).items) {
        if (!stored.contains(std::get<std::string>(key.get()))) group.Set(key, value);
      }
      group.Set("params", FromJson(stored.value("params", json::array())));
      groups.items.emplace_back(std::move(group));
    }
    PyDict whole;
    whole.Set("state", std::move(state));
    whole.Set("param_groups", std::move(groups));
    SetRoot(name + "_state_dict", std::move(whole));
  }

  // LibTorch counts steps in an integer, Python in a float tensor. LBFGS has
  // plain numbers and lists of tensors (KEY.0, KEY.1, ...) in both.
  void AddOptimizerValue(const std::string& type, PyDict& state, const std::string& key,
                         size_t index) {
    const Entry& entry = shard_.manifest->entries[index];
    std::optional<double> number;
    if (const auto value = shard_.values.find(entry.name); value != shard_.values.end()) {
      number = Scalar(entry.dtype, value->second);
    }
    if (type == "LBFGS") {
      if (number && (key == "func_evals" || key == "n_iter")) {
        used_.insert(entry.name);
        return state.Set(key, static_cast<int64_t>(*number));
      }
      if (number && (key == "t" || key == "prev_loss")) {
        used_.insert(entry.name);
        return state.Set(key, *number);
      }
      const size_t dot = key.rfind('.');
      if (dot != std::string::npos) return AppendTo(state, key.substr(0, dot), Tensor(index));
    } else if (key == "step" && number) {
      used_.insert(entry.name);
      const auto step = static_cast<float>(*number);
      return state.Set(key, Literal(DType::kF32, std::string(reinterpret_cast<const char*>(&step),
                                                             sizeof(step))));
    }
    state.Set(key, Tensor(index));
  }

  static void AppendTo(PyDict& state, const std::string& key, PyTensor tensor) {
    for (auto& [name, value] : state.items) {
      if (std::get<std::string>(name.get()) != key) continue;
      PyList list = std::get<PyList>(value.get());
      list.items.emplace_back(std::move(tensor));
      value = std::move(list);
      return;
    }
    PyList list;
    list.items.emplace_back(std::move(tensor));
    state.Set(key, std::move(list));
  }

  void AddRng(const std::string& name) {
    if (const auto cpu = Wanted(name + "/cpu")) SetRoot(name + "_state", Tensor(*cpu));
    PyList cuda;
    for (size_t i : Under(name + "/cuda/")) cuda.items.emplace_back(Tensor(i));
    if (!cuda.items.empty()) SetRoot("cuda_" + name + "_state_all", std::move(cuda));
  }

  // What no object named. `key` empty: at the top.
  void AddRest(const std::string& key) {
    PyDict rest;
    std::vector<size_t> entries = shard_.entries;
    std::sort(entries.begin(), entries.end());
    for (size_t i : entries) {
      const std::string& name = shard_.manifest->entries[i].name;
      if (used_.contains(name)) continue;
      if (key.empty()) {
        SetRoot(name, Tensor(i));
      } else {
        rest.Set(name, Tensor(i));
      }
    }
    if (!rest.items.empty()) SetRoot(key, std::move(rest));
  }

  void AddOrigin() {
    const Checkpoint& checkpoint = *shard_.checkpoint;
    SetRoot("step", static_cast<int64_t>(checkpoint.step));
    SetRoot("run", checkpoint.run.ToString());
    SetRoot("checkpoint_id", static_cast<int64_t>(checkpoint.id));
    PyDict metrics;
    for (const auto& [name, value] : checkpoint.metrics) metrics.Set(name, value);
    SetRoot("metrics", std::move(metrics));
    if (checkpoint.world_size > 1) {
      SetRoot("rank", static_cast<int64_t>(shard_.rank));
      SetRoot("world_size", static_cast<int64_t>(checkpoint.world_size));
    }
  }

  const ShardView& shard_;
  std::map<std::string, size_t> wanted_;
  std::set<std::string> used_;  // entries that are somewhere in the dict
  std::set<std::string> keys_;  // of the dict
  PyDict root_;
  TorchLayout layout_;
};

}  // namespace

absl::StatusOr<TorchLayout> LayOutTorch(const ShardView& shard) { return Builder(shard).Run(); }

}  // namespace ckpt::ctl
