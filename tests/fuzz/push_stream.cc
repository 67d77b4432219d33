// The calls of a push in any order, with any upload id, chunk and bytes: what a
// hostile client could make of them.
#include <memory>
#include <string>
#include <vector>

#include <spdlog/spdlog.h>

#include "daemon/store/reader.h"
#include "daemon/store/store.h"
#include "tests/fuzz/fuzz.h"
#include "tests/testing/fake_clock.h"
#include "tests/testing/simulated_file_system.h"
#include "tests/testing/simulated_vfs.h"

using namespace ckptd;

namespace {

// Opening one takes a hundred times as long as an input does, so that many share it.
// Each has a run of its own, and leaves no upload open.
constexpr uint64_t kInputsPerDaemon = 100;

struct Daemon {
  os::SimulatedDisk disk;
  os::SimulatedVfs vfs{&disk};
  os::SimulatedFileSystem fs{&disk};
  os::FakeClock clock;
  std::unique_ptr<Store> store;

  Daemon() {
    spdlog::set_level(spdlog::level::off);
    StoreOptions options;
    options.data_dir = "/data";
    options.keep_free_bytes = 0;
    auto opened = Store::Open(options, &fs, &clock);
    MUST(opened.ok());
    store = *std::move(opened);
  }
};

constexpr uint32_t kChunkBytes = 64;

// The chunks are known by a number: their bytes are it, again and again.
std::vector<std::byte> Bytes(uint8_t number) {
  return std::vector<std::byte>(kChunkBytes, std::byte{number});
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  // The last one stays: where a process ends, what threads own is gone by then.
  static Daemon* daemon = nullptr;
  static uint64_t inputs = 0;
  if (inputs++ % kInputsPerDaemon == 0) {
    delete daemon;
    daemon = new Daemon;
  }
  Store& store = *daemon->store;
  const ckpt::RunName run = {"default", "run" + std::to_string(inputs)};
  FuzzInput input(data, size);
  std::vector<std::string> uploads = {"", "1", "u18446744073709551615", "x"};
  uint64_t attempt = 0, commits = 0;
  for (int calls = 0; calls < 40 && !input.empty(); ++calls) {
    const auto what = input.Take<uint8_t>();
    const std::string& upload_id = uploads[input.Take<uint8_t>() % uploads.size()];
    switch (what % 6) {
      case 0: {
        const auto opened = store.OpenAttempt(run, std::to_string(what / 6), 1 + what / 128,
                                              std::nullopt, /*must_exist=*/false);
        if (opened.ok()) attempt = opened->attempt.number;
        break;
      }
      case 1: {
        Store::UploadRequest request{.run = run,
                                     .attempt = attempt - input.Take<uint8_t>() % 2,
                                     .step = input.Take<uint8_t>(),
                                     .rank = input.Take<uint8_t>() % 3u};
        for (int chunks = input.Take<uint8_t>() % 5; chunks > 0; --chunks) {
          const auto bytes = Bytes(input.Take<uint8_t>());
          request.manifest.chunks.push_back(
              {ckpt::HashBytes(bytes.data(), bytes.size()), kChunkBytes});
        }
        request.manifest.entries.push_back(
            {.name = "state", .length = request.manifest.bytes()});
        const auto opened = store.OpenUpload(std::move(request));
        if (opened.ok()) uploads.push_back(opened->upload_id);
        break;
      }
      case 2: {
        const auto upload = store.FindUpload(upload_id);
        if (!upload.ok()) break;
        const auto index = input.Take<uint8_t>();
        const auto bytes = Bytes(input.Take<uint8_t>());
        const auto parts = std::span(bytes).first(
            std::min<size_t>(bytes.size(), input.Take<uint8_t>() % 80u));
        const std::span<const std::byte> part = parts;
        (void)(*upload)->Append(index, std::span(&part, 1));
        if ((*upload)->dead()) store.AbandonPack(*upload);
        break;
      }
      case 3: {
        const auto result = store.CommitShard(upload_id);
        commits += result.ok() && result->checkpoint.has_value();
        break;
      }
      case 4:
        (void)store.AbortUpload(upload_id);
        break;
      default: {
        // What is listed is whole: every byte of it can be read.
        const auto listed = store.ListCheckpoints(run, {});
        if (!listed.ok()) break;
        for (const ckpt::Checkpoint& checkpoint : *listed) {
          for (uint32_t rank = 0; rank < checkpoint.world_size; ++rank) {
            const auto reader = store.OpenReader(checkpoint.id, rank);
            if (absl::IsNotFound(reader.status())) continue;  // removed since
            MUST(reader.ok());
            const size_t chunks = (*reader)->manifest().chunks.size();
            for (uint32_t i = 0; i < chunks; ++i) MUST((*reader)->Read(i).ok());
          }
        }
      }
    }
  }
  for (const std::string& upload_id : uploads) (void)store.AbortUpload(upload_id);
  // What was committed is listed as long as it is the newest.
  if (commits > 0) {
    MUST(store.Resolve(run, ckpt::SelectLatest{}, false).ok());
  }
  return 0;
}
