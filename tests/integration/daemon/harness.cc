#include "tests/integration/daemon/harness.h"

#include <sys/stat.h>

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>

#include <fmt/format.h>
#include <grpcpp/create_channel.h>

#include "ckpt/v1/service.grpc.pb.h"
#include "client/download.h"
#include "proto/channel.h"
#include "proto/chunking.h"
#include "proto/limits.h"
#include "proto/names.h"

namespace ckpt::test {

namespace fs = std::filesystem;

bool Asked(const char* variable) {
  const char* value = std::getenv(variable);
  return value != nullptr && *value != '\0' && std::string_view(value) != "0";
}

void FillRandom(uint64_t seed, uint64_t offset, std::span<std::byte> into) {
  uint64_t counter = seed * 0x9E3779B97F4A7C15u + offset / 8;
  for (size_t i = 0; i < into.size(); i += 8) {
    uint64_t word = ++counter * 0x9E3779B97F4A7C15u;  // splitmix64
    word = (word ^ (word >> 30)) * 0xBF58476D1CE4E5B9u;
    word = (word ^ (word >> 27)) * 0x94D049BB133111EBu;
    word ^= word >> 31;
    std::memcpy(into.data() + i, &word, std::min<size_t>(8, into.size() - i));
  }
}

Shard MakeShard(const std::vector<Part>& parts) {
  Shard shard;
  for (const Part& part : parts) {
    shard.manifest.entries.push_back({.name = part.name,
                                      .dtype = DType::kU8,
                                      .shape = {static_cast<int64_t>(part.length)},
                                      .length = part.length});
  }
  const std::vector<uint32_t> lengths = LayOut(shard.manifest.entries);
  uint64_t total = 0;
  for (const uint32_t length : lengths) total += length;
  shard.bytes.resize(total);
  for (size_t i = 0; i < parts.size(); ++i) {
    const Entry& entry = shard.manifest.entries[i];
    FillRandom(parts[i].seed, 0, std::span(shard.bytes).subspan(entry.offset, entry.length));
  }
  uint64_t position = 0;
  for (const uint32_t length : lengths) {
    shard.manifest.chunks.push_back({HashBytes(shard.bytes.data() + position, length), length});
    position += length;
  }
  return shard;
}

Manifest MakeManifest(uint64_t seed, uint64_t length) {
  Manifest manifest;
  manifest.entries.push_back({.name = "w",
                              .dtype = DType::kU8,
                              .shape = {static_cast<int64_t>(length)},
                              .length = length});
  std::vector<std::byte> chunk(kMaxChunkBytes);
  uint64_t position = 0;
  for (const uint32_t bytes : LayOut(manifest.entries)) {
    FillRandom(seed, position, std::span(chunk).first(bytes));
    manifest.chunks.push_back({HashBytes(chunk.data(), bytes), bytes});
    position += bytes;
  }
  return manifest;
}

ChunkReader ReadRandom(uint64_t seed) {
  return [seed](uint32_t, uint64_t offset, std::span<std::byte> into) {
    FillRandom(seed, offset, into);
    return absl::OkStatus();
  };
}

std::unique_ptr<Client> Connect(const std::string& address, absl::Duration window,
                                const CredentialOptions& credentials) {
  ClientOptions options;
  options.address = address;
  options.credentials = credentials;
  options.retry.window = window;
  auto client = Client::Connect(options);
  EXPECT_TRUE(client.ok()) << client.status();
  return client.ok() ? *std::move(client) : nullptr;
}

uint64_t OpenAttempt(Client& client, const RunName& run, uint32_t world_size,
                     const std::optional<Policy>& policy) {
  static std::atomic<int> launches = 0;
  const std::string launch = fmt::format("launch-{}-{}", getpid(), ++launches);
  auto opened = client.OpenAttempt(run, launch, world_size, policy);
  EXPECT_TRUE(opened.ok()) << opened.status();
  return opened.ok() ? opened->attempt.number : 0;
}

absl::StatusOr<PushResult> PushShard(Client& client, const RunName& run, uint64_t attempt,
                                     uint64_t step, const Shard& shard, uint32_t rank) {
  PushRequest request;
  request.offer = {
      .run = run, .attempt = attempt, .step = step, .rank = rank, .manifest = &shard.manifest};
  request.source = std::span<const std::byte>(shard.bytes);
  return Push(client, request);
}

std::vector<std::byte> FetchShard(Client& client, uint64_t checkpoint_id, uint32_t rank) {
  std::vector<std::byte> bytes;
  auto manifest = client.GetManifest(checkpoint_id, rank);
  EXPECT_TRUE(manifest.ok()) << manifest.status();
  if (!manifest.ok()) return bytes;
  bytes.reserve(manifest->bytes());
  const absl::Status fetched =
      Fetch(client, {checkpoint_id, rank, &*manifest, AllChunks(*manifest)},
            [&](uint32_t, ChunkParts parts) {
              for (const auto& part : parts) bytes.insert(bytes.end(), part.begin(), part.end());
              return absl::OkStatus();
            });
  EXPECT_TRUE(fetched.ok()) << fetched;
  return bytes;
}

uint64_t DiskBytes(const std::string& directory) {
  uint64_t blocks = 0;
  std::error_code gone;  // a file may go while it is looked at
  for (const auto& item : fs::recursive_directory_iterator(directory, gone)) {
    struct stat info;
    if (item.is_regular_file(gone) && stat(item.path().c_str(), &info) == 0) {
      blocks += static_cast<uint64_t>(info.st_blocks);
    }
  }
  return blocks * 512;
}

Memory MemoryOf(pid_t pid) {
  std::ifstream in(fmt::format("/proc/{}/status", pid));
  Memory memory;
  for (std::string line; std::getline(in, line);) {
    std::istringstream words(line);
    std::string name;
    uint64_t kib = 0;
    words >> name >> kib;
    if (name == "VmHWM:") memory.peak = kib << 10;
    if (name == "VmRSS:") memory.now = kib << 10;
  }
  return memory;
}

std::string Picture(const std::string& address, const std::string& token) {
  auto stub = v1::Checkpoints::NewStub(grpc::CreateCustomChannel(
      address, grpc::InsecureChannelCredentials(), TunedChannelArguments()));
  std::string picture;
  auto call = [&](auto method, const auto& request, auto response) {
    grpc::ClientContext context;
    if (!token.empty()) context.AddMetadata(kTokenHeader, kTokenScheme + token);
    context.set_wait_for_ready(true);
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(20));
    const grpc::Status status = (*stub.*method)(&context, request, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return response;
  };
  using Stub = v1::Checkpoints::Stub;
  const auto runs = call(&Stub::ListRuns, v1::ListRunsRequest(), v1::ListRunsResponse());
  picture += runs.DebugString();
  for (const v1::Run& run : runs.runs()) {
    v1::RunRef ref;
    ref.set_project(run.project());
    ref.set_run(run.name());
    v1::ListCheckpointsRequest list;
    *list.mutable_run() = ref;
    list.set_include_removed(true);
    picture += call(&Stub::ListCheckpoints, list, v1::ListCheckpointsResponse()).DebugString();
    v1::ListEventsRequest events;
    *events.mutable_run() = ref;
    picture += call(&Stub::ListEvents, events, v1::ListEventsResponse()).DebugString();
  }
  auto stats = call(&Stub::GetStats, v1::GetStatsRequest(), v1::GetStatsResponse());
  stats.clear_uptime();
  stats.clear_disk_free_bytes();
  stats.clear_scrub();  // which goes on by itself
  return picture + stats.DebugString();
}

testing::AssertionResult IsOneSentence(std::string_view text) {
  if (text.empty()) return testing::AssertionFailure() << "no text at all";
  if (text.size() > 1000) return testing::AssertionFailure() << text.size() << " bytes of text";
  if (Printable(text, text.size() + 1) != text) {
    return testing::AssertionFailure() << "not one printable line: " << Printable(text, 2000);
  }
  return testing::AssertionSuccess();
}

}  // namespace ckpt::test
