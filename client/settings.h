// Where settings of a client come from when the caller gives none: the
// environment, then client.toml.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "proto/status.h"

namespace ckpt {

using GetEnv = std::function<std::optional<std::string>(const std::string& name)>;
GetEnv ProcessEnvironment();

// $XDG_CONFIG_HOME/ckptd/client.toml, or ~/.config/ckptd/client.toml; empty where
// there is no home. The file need not exist.
std::string SettingsPath(const GetEnv& env);

// The value of the line `key = "..."`, if the file has one. INVALID_ARGUMENT for
// such a line with something else, naming it and `example`.
absl::StatusOr<std::optional<std::string>> ReadSetting(const std::string& path,
                                                       std::string_view key,
                                                       std::string_view example);

}  // namespace ckpt
