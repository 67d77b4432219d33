// The recovery of an unfinished pack: records that were written, some of them
// changed, some cut off.
#include <vector>

#include <spdlog/spdlog.h>

#include "daemon/chunks/layout.h"
#include "daemon/chunks/pack_store.h"
#include "tests/fuzz/fuzz.h"
#include "tests/testing/simulated_file_system.h"

using namespace ckptd;

namespace {

constexpr PackId kPack = 7;

// As the input says: chunks and notes as they are written, or raw bytes.
std::vector<std::byte> Build(FuzzInput& input) {
  std::vector<std::byte> pack(kPackHeaderBytes);
  EncodePackHeader(kPack, std::span<std::byte, kPackHeaderBytes>(pack));
  for (int records = input.Take<uint8_t>() % 6; records > 0; --records) {
    const auto kind = input.Take<uint8_t>();
    const auto payload = input.TakeBytes(input.Take<uint16_t>() % 9000);
    RecordHeader header{.type = static_cast<RecordType>(1 + kind % 3),
                        .length = static_cast<uint32_t>(payload.size()),
                        .pack = kPack,
                        .offset = pack.size(),
                        .digest = ckpt::HashBytes(payload.data(), payload.size())};
    const size_t at = pack.size();
    pack.resize(at + RecordExtent(header.length));
    EncodeRecordHeader(header, std::span<std::byte, kRecordHeaderBytes>(
                                   pack.data() + at, kRecordHeaderBytes));
    std::copy(payload.begin(), payload.end(),
              pack.begin() + static_cast<long>(at + kRecordHeaderBytes));
  }
  for (int patches = input.Take<uint8_t>() % 4; patches > 0; --patches) {
    const size_t at = input.Take<uint32_t>() % pack.size();
    pack[at] ^= std::byte{input.Take<uint8_t>()};
  }
  if (const auto cut = input.Take<uint16_t>(); cut % 2 == 1) pack.resize(cut % pack.size());
  const auto tail = input.TakeRest();
  const auto bytes = std::as_bytes(std::span(tail));
  pack.insert(pack.end(), bytes.begin(), bytes.end());
  return pack;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  spdlog::set_level(spdlog::level::off);
  FuzzInput input(data, size);
  const std::vector<std::byte> pack = Build(input);
  os::SimulatedDisk disk;
  os::SimulatedFileSystem fs(&disk);
  auto store = OpenPackStore(&fs, "/data");
  MUST(store.ok());
  const Layout layout("/data");
  MUST(fs.CreateDirs(layout.PackDir(kPack)).ok());
  std::unique_ptr<os::SimulatedDisk::OpenFile> file;
  MUST(disk.Open(layout.Pack(kPack), {.create = true}, &file) == 0);
  MUST(file->Write(0, pack) == 0);

  const auto recovered = (*store)->RecoverPack(kPack);
  if (!recovered.ok()) {
    MUST(!ckpt::ReasonOf(recovered.status()).empty());
    uint64_t left = 0;
    MUST(file->Size(&left) == 0 && left == pack.size());  // nothing was touched
    return 0;
  }
  // All that is said to be whole can be read, and a second look finds the same.
  for (const StoredChunk& chunk : recovered->chunks) {
    std::vector<std::byte> out(chunk.location.length);
    MUST((*store)->Read(chunk.digest, chunk.location, out, /*verify=*/true).ok());
  }
  const auto again = (*store)->RecoverPack(kPack);
  MUST(again.ok() && again->chunks.size() == recovered->chunks.size());
  MUST(again->notes == recovered->notes && again->cut_bytes == 0);
  return 0;
}
