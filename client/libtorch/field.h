// A named small value of an object, by reference: how schedulers, samplers,
// option structs and counters show their state so that one piece of code can
// capture, check and restore all of them.
//
//   std::vector<Field> Fields() { return {{"epoch", &epoch_}, {"position", &position_}}; }
//
// Values travel as JSON, doubles as client/state.h says: they come back bit for
// bit, infinities too.
#pragma once

#include <algorithm>
#include <concepts>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include <c10/util/Optional.h>
#include <nlohmann/json.hpp>

#include "client/state.h"

namespace ckpt::libtorch {

namespace field {

using Json = nlohmann::json;

template <class T>
concept Integer = std::integral<T> && !std::same_as<T, bool>;

inline Json Encode(bool v) { return v; }
template <Integer T>
Json Encode(T v) {
  return v;
}
inline Json Encode(double v) { return DoubleToJson(v); }
inline Json Encode(const std::string& v) { return v; }
inline Json Encode(const std::tuple<double, double>& v) {
  return Json::array({Encode(std::get<0>(v)), Encode(std::get<1>(v))});
}
template <class T>
Json Encode(const std::vector<T>& v) {
  Json out = Json::array();
  for (const T& x : v) out.push_back(Encode(x));
  return out;
}
template <class T>
Json Encode(const c10::optional<T>& v) {
  return v.has_value() ? Encode(*v) : Json(nullptr);
}

// False when `j` is no such value; then `out` is as it was.
inline bool Decode(const Json& j, bool* out) {
  if (!j.is_boolean()) return false;
  *out = j.get<bool>();
  return true;
}
template <Integer T>
bool Decode(const Json& j, T* out) {
  if (j.is_number_unsigned()) {
    if (!std::in_range<T>(j.get<uint64_t>())) return false;
  } else if (!j.is_number_integer() || !std::in_range<T>(j.get<int64_t>())) {
    return false;
  }
  *out = j.get<T>();
  return true;
}
inline bool Decode(const Json& j, double* out) {
  const std::optional<double> value = DoubleFromJson(j);
  if (value) *out = *value;
  return value.has_value();
}
inline bool Decode(const Json& j, std::string* out) {
  if (!j.is_string()) return false;
  *out = j.get<std::string>();
  return true;
}
inline bool Decode(const Json& j, std::tuple<double, double>* out) {
  double a, b;
  if (!j.is_array() || j.size() != 2 || !Decode(j[0], &a) || !Decode(j[1], &b)) return false;
  *out = {a, b};
  return true;
}
template <class T>
bool Decode(const Json& j, std::vector<T>* out) {
  if (!j.is_array()) return false;
  std::vector<T> decoded(j.size());
  for (size_t i = 0; i < j.size(); ++i) {
    if (!Decode(j[i], &decoded[i])) return false;
  }
  *out = std::move(decoded);
  return true;
}
template <class T>
bool Decode(const Json& j, c10::optional<T>* out) {
  if (j.is_null()) {
    *out = c10::nullopt;
    return true;
  }
  T value{};
  if (!Decode(j, &value)) return false;
  *out = std::move(value);
  return true;
}

}  // namespace field

// Copyable. What it points at is the caller's and must outlive it.
class Field {
 public:
  // `one_of`: the words that are allowed; none: any value of the type.
  template <class T>
  Field(std::string name, T* value, std::vector<std::string> one_of = {})
      : name_(std::move(name)),
        get_([value] { return field::Encode(*value); }),
        accepts_([one_of = std::move(one_of)](const nlohmann::json& j) {
          T probe{};
          return field::Decode(j, &probe) &&
                 (one_of.empty() || std::find(one_of.begin(), one_of.end(), j) != one_of.end());
        }),
        set_([value](const nlohmann::json& j) { return field::Decode(j, value); }) {}

  const std::string& name() const { return name_; }
  nlohmann::json Get() const { return get_(); }
  // Whether `j` is of this field's type, and one of its words where they are listed.
  bool Accepts(const nlohmann::json& j) const { return accepts_(j); }
  // False, and nothing changed, when `j` is not of this field's type.
  bool Set(const nlohmann::json& j) const { return set_(j); }

 private:
  std::string name_;
  std::function<nlohmann::json()> get_;
  std::function<bool(const nlohmann::json&)> accepts_;
  std::function<bool(const nlohmann::json&)> set_;
};

}  // namespace ckpt::libtorch
