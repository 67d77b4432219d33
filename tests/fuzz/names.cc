// Names, and what is typed on a command line to name a checkpoint.
#include "proto/names.h"
#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  for (const auto& status : {ckpt::CheckName("name", text), ckpt::CheckLabelName("name", text),
                             ckpt::CheckAlias(text), ckpt::CheckEntryName(text)}) {
    // A refusal can be printed on a line of its own.
    MUST(ckpt::Printable(std::string_view(status.message().data(), status.message().size()),
                         1 << 20) == std::string(status.message()));
  }
  // Two bytes escaped beyond the bound, and dots.
  MUST(ckpt::Printable(text, 80).size() < 80 + 8 + 3);
  if (ckpt::CheckName("name", text).ok()) {
    MUST(text.find('/') == text.npos && text.find('\0') == text.npos && text[0] != '.');
  }
  if (const auto selector = ckpt::ParseSelector(text); selector.ok()) {
    const auto again = ckpt::ParseSelector(ckpt::ToString(*selector));
    MUST(again.ok() && *again == *selector);
  }
  if (const auto run = ckpt::ParseRunName(text); run.ok()) {
    const auto again = ckpt::ParseRunName(run->ToString());
    MUST(again.ok() && *again == *run);
  }
  (void)ckpt::ParseCheckpointRef(text);
  return 0;
}
