#include "trainer/final_state.h"

#include <fstream>
#include <vector>

#include "proto/digest.h"

namespace ckpt::trainer {

absl::Status WriteFinalState(const State& state, const std::string& path) {
  ASSIGN_OR_RETURN(const std::vector<Entry> entries, ManifestEntries(state));
  nlohmann::ordered_json json = nlohmann::ordered_json::object();
  for (size_t i = 0; i < entries.size(); ++i) {
    std::vector<std::byte> bytes(entries[i].length);
    RETURN_IF_ERROR(CopyOut(state.entries()[i], bytes));
    if (entries[i].name == kStateDocument) {
      json["document"] = nlohmann::ordered_json::parse(
          std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size()), nullptr, false);
    } else {
      json["digests"][entries[i].name] = HashBytes(bytes.data(), bytes.size()).Hex();
    }
  }
  std::ofstream out(path, std::ios::trunc);
  out << json.dump(1) << "\n";
  out.flush();
  if (!out) return absl::UnavailableError(fmt::format("{} cannot be written.", path));
  return absl::OkStatus();
}

}  // namespace ckpt::trainer
