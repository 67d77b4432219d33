// The header of a .safetensors file that somebody else wrote.
#include "client/safetensors.h"
#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  FuzzInput input(data, size);
  const uint64_t data_bytes = input.Take<uint32_t>();
  const auto header = ckpt::ParseSafetensorsHeader(input.TakeRest(), data_bytes);
  if (!header.ok()) {
    MUST(header.status().code() == absl::StatusCode::kInvalidArgument);
    return 0;
  }
  // What is read stays within the file, and leaves nothing out.
  uint64_t end = 0;
  for (const ckpt::Entry& entry : header->entries) {
    MUST(entry.offset == end);
    end += entry.length;
  }
  MUST(end == data_bytes);
  // It can be written again, and says the same then.
  if (header->entries.empty()) return 0;
  std::vector<ckpt::Entry> entries = header->entries;
  const auto built = ckpt::BuildSafetensorsHeader(entries, header->metadata);
  MUST(built.ok());
  const auto again = ckpt::ParseSafetensorsHeader(std::string_view(*built).substr(8), data_bytes);
  MUST(again.ok() && again->entries.size() == header->entries.size());
  MUST(again->metadata == header->metadata);
  return 0;
}
