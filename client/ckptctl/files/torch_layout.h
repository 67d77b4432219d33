// How a training state becomes the dict that Python's users know:
//
//   {"model_state_dict": OrderedDict, "optimizer_state_dict": {"state": {0: {...}},
//    "param_groups": [{...}]}, "scheduler_state_dict": {...}, "epoch": 3,
//    "rng_state": ByteTensor, "step": 1000, "run": "gpt", "metrics": {...}}
//
// An object NAME of the state is at NAME_state_dict if it is a module,
// optimizer, scheduler or sampler, else at NAME. Random states are at
// rng_state (torch.set_rng_state takes it) and cuda_rng_state_all. A shard
// without a document gives all its tensors as model_state_dict.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "client/ckptctl/files/pickle.h"
#include "client/ckptctl/files/target.h"

namespace ckpt::ctl {

// A storage of the archive: an entry's bytes as they come, or a value that is
// known already.
struct TorchStorage {
  std::string key;  // record data/KEY
  bool literal = false;
  size_t entry = 0;   // index in the manifest, unless literal
  std::string value;  // if literal
};

struct TorchLayout {
  PyValue root;
  std::vector<TorchStorage> storages;
  std::vector<std::string> notes;
};

// INVALID_ARGUMENT: the document is of an unknown format.
absl::StatusOr<TorchLayout> LayOutTorch(const ShardView& shard);

}  // namespace ckpt::ctl
