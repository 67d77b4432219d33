#include "proto/names.h"

#include <algorithm>
#include <charconv>

#include <fmt/format.h>

#include "proto/limits.h"

namespace ckpt {
namespace {

bool IsAlnum(char c) {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

absl::Status CheckCharacters(std::string_view what, std::string_view name, bool slash) {
  if (name.empty()) {
    return BadField(what, fmt::format("the {} is empty; give one of 1 to {} characters", what,
                                      kMaxNameBytes), reason::kBadName);
  }
  if (name.size() > kMaxNameBytes) {
    return BadField(what, fmt::format("the {} has {} bytes, but at most {} are allowed", what,
                                      name.size(), kMaxNameBytes), reason::kBadName);
  }
  auto allowed = [slash](char c) {
    return IsAlnum(c) || c == '.' || c == '_' || c == '-' || (slash && c == '/');
  };
  auto bad = std::find_if_not(name.begin(), name.end(), allowed);
  if (bad != name.end() || !IsAlnum(name[0])) {
    return BadField(what, fmt::format("the {} \"{}\" is not allowed: use letters, digits, '.', "
                                      "'_'{} and '-', and begin with a letter or digit",
                                      what, Printable(name), slash ? ", '/'" : ""),
                    reason::kBadName);
  }
  return absl::OkStatus();
}

// Length of the UTF-8 sequence at the beginning of `text`; 0 if there is none.
size_t Utf8Length(std::string_view text) {
  auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  unsigned char first = byte(0);
  if (first < 0x80) return 1;
  size_t length = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : 2;
  if (first < 0xC2 || first > 0xF4 || text.size() < length) return 0;
  for (size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return 0;
  }
  // Overlong forms, surrogates and what lies past U+10FFFF.
  if ((first == 0xE0 && byte(1) < 0xA0) || (first == 0xED && byte(1) > 0x9F) ||
      (first == 0xF0 && byte(1) < 0x90) || (first == 0xF4 && byte(1) > 0x8F)) {
    return 0;
  }
  return length;
}

// Whether the UTF-8 sequence at the beginning of `text` is a control character:
// ASCII's, or U+0080 to U+009F, which a terminal obeys as well.
bool IsControl(std::string_view text) {
  auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  return byte(0) < 0x20 || byte(0) == 0x7F || (byte(0) == 0xC2 && byte(1) < 0xA0);
}

bool AllDigits(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(),
                                      [](char c) { return c >= '0' && c <= '9'; });
}

absl::StatusOr<uint64_t> ParseNumber(std::string_view what, std::string_view text) {
  uint64_t value = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) {
    return BadField("selector", fmt::format("\"{}\" is not a {}: give a whole number from 0 to "
                                            "18446744073709551615", Printable(text), what));
  }
  return value;
}

}  // namespace

absl::Status CheckName(std::string_view what, std::string_view name) {
  return CheckCharacters(what, name, /*slash=*/false);
}

absl::Status CheckLabelName(std::string_view what, std::string_view name) {
  return CheckCharacters(what, name, /*slash=*/true);
}

absl::Status CheckAlias(std::string_view alias) {
  RETURN_IF_ERROR(CheckLabelName("alias", alias));
  if (alias == "latest" || alias == "best" || AllDigits(alias)) {
    return BadField("alias", fmt::format("\"{}\" cannot be an alias, because RUN@{} already means "
                                         "something else; choose another", alias, alias),
                    reason::kBadName);
  }
  return absl::OkStatus();
}

absl::Status CheckEntryName(std::string_view name) {
  if (name.empty() || name.size() > kMaxEntryNameBytes) {
    return BadField("entry name", fmt::format("an entry name has {} bytes, but 1 to {} are allowed",
                                              name.size(), kMaxEntryNameBytes), reason::kBadName);
  }
  for (size_t i = 0; i < name.size();) {
    size_t length = Utf8Length(name.substr(i));
    if (length == 0 || IsControl(name.substr(i))) {
      return BadField("entry name", fmt::format("the entry name \"{}\" holds a control character "
                                                "or is not UTF-8", Printable(name)),
                      reason::kBadName);
    }
    i += length;
  }
  return absl::OkStatus();
}

absl::StatusOr<RunName> ParseRunName(std::string_view text) {
  RunName name{kDefaultProject, std::string(text)};
  if (auto slash = text.find('/'); slash != std::string_view::npos) {
    name = {std::string(text.substr(0, slash)), std::string(text.substr(slash + 1))};
  }
  RETURN_IF_ERROR(CheckName("project name", name.project));
  RETURN_IF_ERROR(CheckName("run name", name.run));
  return name;
}

absl::StatusOr<Selector> ParseSelector(std::string_view text) {
  if (text == "latest") return SelectLatest{};
  if (text == "best") return SelectBest{};
  auto after = [&](std::string_view prefix) { return text.substr(prefix.size()); };
  if (text.starts_with("best:")) {
    RETURN_IF_ERROR(CheckLabelName("metric", after("best:")));
    return SelectBest{std::string(after("best:"))};
  }
  if (text.starts_with("id:")) {
    ASSIGN_OR_RETURN(uint64_t id, ParseNumber("checkpoint id", after("id:")));
    return SelectId{id};
  }
  bool step = text.starts_with("step:");
  if (step || AllDigits(text)) {
    ASSIGN_OR_RETURN(uint64_t number, ParseNumber("step", step ? after("step:") : text));
    return SelectStep{number};
  }
  if (absl::Status status = CheckAlias(text); !status.ok()) {
    return BadField("selector",
                    fmt::format("\"{}\" is not a selector: use latest, best, best:METRIC, step:N, "
                                "id:N or an alias", Printable(text)));
  }
  return SelectAlias{std::string(text)};
}

std::string ToString(const Selector& selector) {
  struct {
    std::string operator()(const SelectLatest&) { return "latest"; }
    std::string operator()(const SelectBest& s) {
      return s.metric.empty() ? "best" : "best:" + s.metric;
    }
    std::string operator()(const SelectStep& s) { return fmt::format("step:{}", s.step); }
    std::string operator()(const SelectAlias& s) { return s.alias; }
    std::string operator()(const SelectId& s) { return fmt::format("id:{}", s.id); }
  } visitor;
  return std::visit(visitor, selector);
}

absl::StatusOr<CheckpointRef> ParseCheckpointRef(std::string_view text) {
  CheckpointRef ref;
  auto at = text.find('@');
  ASSIGN_OR_RETURN(ref.run, ParseRunName(text.substr(0, at)));
  if (at != std::string_view::npos) {
    ASSIGN_OR_RETURN(ref.selector, ParseSelector(text.substr(at + 1)));
  }
  return ref;
}

std::string Printable(std::string_view text, size_t max_bytes) {
  std::string out;
  for (size_t i = 0; i < text.size();) {
    if (out.size() >= max_bytes) return out + "...";
    size_t length = Utf8Length(text.substr(i));
    if (length == 0 || IsControl(text.substr(i))) {
      for (size_t end = i + std::max<size_t>(length, 1); i < end; ++i) {
        out += fmt::format("\\x{:02x}", static_cast<unsigned char>(text[i]));
      }
    } else {
      out += text.substr(i, length);
      i += length;
    }
  }
  return out;
}

}  // namespace ckpt
