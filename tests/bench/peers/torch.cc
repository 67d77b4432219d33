#include "tests/bench/peers/torch.h"

#include <filesystem>

#include <torch/serialize.h>

#include "tests/bench/common.h"
#include "tests/bench/disk.h"

namespace ckpt::bench {
namespace {

// Keys of an archive are names of attributes.
std::string KeyOf(std::string name) {
  for (char& c : name) {
    if (c == '.' || c == '/') c = '_';
  }
  return name;
}

}  // namespace

double Torch::Put(const Tensors& tensors) {
  return Timed([&] {
    torch::serialize::OutputArchive archive;
    for (const Named& named : tensors) archive.write(KeyOf(named.name), named.tensor);
    archive.save_to(file_);
    SyncFile(file_);
  });
}

double Torch::Get(Tensors& tensors) {
  return Timed([&] {
    torch::serialize::InputArchive archive;
    archive.load_from(file_);
    for (Named& named : tensors) archive.read(KeyOf(named.name), named.tensor);
  });
}

void Torch::Clear() { std::filesystem::remove(file_); }

}  // namespace ckpt::bench
