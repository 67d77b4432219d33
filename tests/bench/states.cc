#include "tests/bench/states.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <filesystem>
#include <numeric>
#include <random>

#include <fmt/format.h>

#include "client/libtorch/tensors.h"
#include "tests/bench/common.h"
#include "tests/bench/random.h"

namespace ckpt::bench {
namespace {

// Not the same from one run of the benchmark to the next, either.
uint64_t NextSeed() {
  static std::atomic<uint64_t> seed = (uint64_t{std::random_device()()} << 32) + 1;
  return seed++;
}

std::span<std::byte> BytesIn(const torch::Tensor& tensor) {
  return {static_cast<std::byte*>(tensor.data_ptr()), tensor.nbytes()};
}

}  // namespace

Tensors FlatTensors(uint64_t bytes) {
  Tensors tensors;
  for (uint64_t block = 0; block * (64u << 20) < bytes; ++block) {
    const auto add = [&](const char* part, std::vector<int64_t> shape) {
      tensors.push_back({fmt::format("block.{}.{}", block, part), torch::zeros(shape)});
    };
    add("mlp.weight", {3072, 4096});
    add("attention.weight", {3072, 1024});
    add("embedding.weight", {1023, 1024});
    add("norm.weight", {1024});
  }
  return tensors;
}

Tensors Gpt2Tensors() {
  constexpr int64_t kWidth = 768;
  Tensors tensors;
  const auto add = [&](const std::string& name, std::vector<int64_t> shape) {
    tensors.push_back({"model/transformer." + name, torch::zeros(shape)});
  };
  const auto both = [&](const std::string& name, std::vector<int64_t> shape) {
    const int64_t out = shape.back();
    add(name + ".weight", std::move(shape));
    add(name + ".bias", {out});
  };
  add("wte.weight", {50257, kWidth});
  add("wpe.weight", {1024, kWidth});
  for (int block = 0; block < 12; ++block) {
    const std::string h = fmt::format("h.{}.", block);
    both(h + "ln_1", {kWidth});
    both(h + "attn.c_attn", {kWidth, 3 * kWidth});
    both(h + "attn.c_proj", {kWidth, kWidth});
    both(h + "ln_2", {kWidth});
    both(h + "mlp.c_fc", {kWidth, 4 * kWidth});
    both(h + "mlp.c_proj", {4 * kWidth, kWidth});
  }
  both("ln_f", {kWidth});
  const size_t parameters = tensors.size();
  for (size_t i = 0; i < parameters; ++i) {
    const auto shape = tensors[i].tensor.sizes().vec();
    const std::string state = fmt::format("optimizer/state/{}/", i);
    tensors.push_back({state + "exp_avg", torch::zeros(shape)});
    tensors.push_back({state + "exp_avg_sq", torch::zeros(shape)});
    tensors.push_back({state + "step", torch::zeros({})});
  }
  return tensors;
}

uint64_t BytesOf(const Tensors& tensors) {
  return std::accumulate(
      tensors.begin(), tensors.end(), uint64_t{0},
      [](uint64_t sum, const Named& named) { return sum + named.tensor.nbytes(); });
}

void Refill(Tensors& tensors, uint64_t bytes) {
  for (Named& named : tensors) {
    const auto part = BytesIn(named.tensor);
    FillRandom(NextSeed(), part.first(std::min<uint64_t>(bytes, part.size())));
    bytes -= std::min<uint64_t>(bytes, part.size());
  }
}

State StateOf(const Tensors& tensors) {
  State state;
  for (const Named& named : tensors) {
    state.Add(Must(libtorch::TensorEntry(named.name, named.tensor)));
  }
  return state;
}

void MustEqual(const Tensors& pushed, const Tensors& fetched) {
  for (size_t i = 0; i < pushed.size(); ++i) {
    const auto a = BytesIn(pushed[i].tensor), b = BytesIn(fetched[i].tensor);
    if (a.size() != b.size() || std::memcmp(a.data(), b.data(), a.size()) != 0) {
      Die("what was fetched is not what was pushed: " + pushed[i].name);
    }
  }
}

double CopyOnce(const Tensors& tensors) {
  const size_t size = BytesOf(tensors);
  void* const memory =
      mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) Die("no memory to copy into");
  madvise(memory, size, MADV_HUGEPAGE);
  std::memset(memory, 1, size);
  const double seconds = Timed([&] {
    auto* to = static_cast<std::byte*>(memory);
    for (const Named& named : tensors) {
      const auto from = BytesIn(named.tensor);
      std::memcpy(to, from.data(), from.size());
      to += from.size();
    }
  });
  munmap(memory, size);
  return seconds;
}

StateFile::StateFile(std::string path, uint64_t bytes) : path_(std::move(path)), bytes_(bytes) {
  Refill(bytes);
}

StateFile::~StateFile() {
  std::error_code ignored;
  std::filesystem::remove(path_, ignored);
}

void StateFile::Refill(uint64_t bytes) {
  const int fd = open(path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0) Die("cannot write " + path_);
  std::vector<std::byte> piece(4 << 20);
  for (uint64_t at = 0; at < bytes; at += piece.size()) {
    FillRandom(NextSeed(), piece);
    const size_t size = std::min<uint64_t>(piece.size(), bytes - at);
    if (pwrite(fd, piece.data(), size, static_cast<off_t>(at)) != static_cast<ssize_t>(size)) {
      Die(fmt::format("{} cannot hold {} bytes", path_, bytes));
    }
  }
  close(fd);
}

}  // namespace ckpt::bench
