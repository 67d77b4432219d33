// One of many workers that push or fetch at once, each a process with a
// connection of its own as the ranks and runs of real jobs are. Does what it is
// told on standard input, answers "ok" a line:
//
//   state RUN BYTES  makes a state for RUN in memory, and pushes it once
//   refill           new bytes in it
//   push             saves it; answers once it is durable
//   aim RUN          makes room for RUN's newest checkpoint
//   fetch TIMES      fetches it so often
//
// At the end of its input it deletes the run that it pushed to.
//
//   ckpt_bench_worker ADDRESS
#include <iostream>
#include <memory>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

#include "client/checkpointer.h"
#include "client/download.h"
#include "tests/bench/common.h"
#include "tests/bench/random.h"

namespace ckpt::bench {
namespace {

class Worker {
 public:
  explicit Worker(std::string address) : address_(std::move(address)) {}

  void MakeState(const std::string& run, uint64_t bytes) {
    memory_.resize(bytes);
    seed_ = std::hash<std::string>()(run);
    Refill();
    CheckpointerOptions options;
    options.client.address = address_;
    options.run = {"default", run};
    options.policy.emplace().keep_last = 1;
    checkpointer_ = Must(Checkpointer::Open(std::move(options)));
    Push();
  }

  void Refill() { FillRandom(++seed_, memory_); }

  void Push() {
    State state;
    state.AddTensor("weight", DType::kF32, {static_cast<int64_t>(memory_.size() / 4)},
                    memory_.data());
    Must(checkpointer_->Save(++step_, state).status());
    Must(checkpointer_->Flush());
  }

  void Aim(const std::string& run) {
    run_ = {"default", run};
    client_ = Must(Client::Connect({.address = address_}));
    memory_.assign(Must(client_->Resolve(run_, SelectLatest{})).checkpoint.bytes, std::byte{1});
  }

  void Fetch() {
    const Resolved resolved = Must(client_->Resolve(run_, SelectLatest{}));
    const Manifest manifest = Must(client_->GetManifest(resolved.checkpoint.id, 0));
    Must(FetchInto(*client_, resolved.checkpoint.id, 0, manifest,
                   {{.entry = "weight", .data = memory_.data()}}));
  }

  void End() {
    if (checkpointer_ == nullptr) return;
    Must(checkpointer_->client().DeleteRun(checkpointer_->run().name).status());
  }

 private:
  const std::string address_;
  std::vector<std::byte> memory_;
  uint64_t seed_ = 0, step_ = 0;
  std::unique_ptr<Checkpointer> checkpointer_;
  std::unique_ptr<Client> client_;
  RunName run_;
};

int Main(const std::string& address) {
  Worker worker(address);
  for (std::string line; std::getline(std::cin, line);) {
    std::istringstream words(line);
    std::string verb, run;
    uint64_t number = 0;
    words >> verb;
    if (verb == "state" && words >> run >> number) {
      worker.MakeState(run, number);
    } else if (verb == "refill") {
      worker.Refill();
    } else if (verb == "push") {
      worker.Push();
    } else if (verb == "aim" && words >> run) {
      worker.Aim(run);
    } else if (verb == "fetch" && words >> number) {
      for (; number > 0; --number) worker.Fetch();
    } else {
      Die("unknown command: " + line);
    }
    std::cout << "ok" << std::endl;
  }
  worker.End();
  return 0;
}

}  // namespace
}  // namespace ckpt::bench

int main(int argc, char** argv) {
  if (argc != 2) {
    fmt::print(stderr, "ckpt_bench_worker: use it as ckpt_bench_worker ADDRESS\n");
    return 2;
  }
  return ckpt::bench::Main(argv[1]);
}
