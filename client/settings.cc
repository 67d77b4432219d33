#include "client/settings.h"

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>

namespace ckpt {
namespace {

std::string_view Trim(std::string_view text) {
  const auto blank = [](char c) { return c == ' ' || c == '\t' || c == '\r'; };
  while (!text.empty() && blank(text.front())) text.remove_prefix(1);
  while (!text.empty() && blank(text.back())) text.remove_suffix(1);
  return text;
}

}  // namespace

GetEnv ProcessEnvironment() {
  return [](const std::string& name) -> std::optional<std::string> {
    const char* value = std::getenv(name.c_str());
    if (value == nullptr) return std::nullopt;
    return std::string(value);
  };
}

std::string SettingsPath(const GetEnv& env) {
  if (auto xdg = env("XDG_CONFIG_HOME"); xdg.has_value() && !xdg->empty()) {
    return *xdg + "/ckptd/client.toml";
  }
  if (auto home = env("HOME"); home.has_value() && !home->empty()) {
    return *home + "/.config/ckptd/client.toml";
  }
  return "";
}

absl::StatusOr<std::optional<std::string>> ReadSetting(const std::string& path,
                                                       std::string_view key,
                                                       std::string_view example) {
  if (path.empty()) return std::nullopt;
  errno = 0;
  std::ifstream file(path);
  if (!file) {
    if (errno == ENOENT || errno == ENOTDIR) return std::nullopt;
    return MakeError(absl::StatusCode::kPermissionDenied, reason::kIoError,
                     fmt::format("cannot read {}: {}", path, std::strerror(errno)));
  }
  std::string line;
  for (int number = 1; std::getline(file, line); ++number) {
    std::string_view rest = Trim(line);
    if (!rest.starts_with(key)) continue;
    rest = Trim(rest.substr(key.size()));
    if (!rest.starts_with("=")) continue;
    rest = Trim(rest.substr(1));
    const char quote = rest.empty() ? '\0' : rest.front();
    if (quote == '"' || quote == '\'') {
      const size_t end = rest.find(quote, 1);
      const std::string_view after =
          end == std::string_view::npos ? "" : Trim(rest.substr(end + 1));
      if (end != std::string_view::npos && (after.empty() || after.front() == '#')) {
        return std::string(rest.substr(1, end - 1));
      }
    }
    return BadField(key,
                    fmt::format("line {} of {} is not {} = \"{}\"", number, path, key, example));
  }
  return std::nullopt;
}

}  // namespace ckpt
