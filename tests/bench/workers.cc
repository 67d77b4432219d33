#include "tests/bench/workers.h"

#include "tests/bench/common.h"

namespace ckpt::bench {

Workers::Workers(const std::string& program, const std::string& address, const std::string& log,
                 int workers) {
  for (int i = 0; i < workers; ++i) {
    workers_.push_back(std::make_unique<Process>(Command{.words = {program, address}, .log = log}));
  }
}

Workers::~Workers() {
  for (const auto& worker : workers_) {
    worker->EndInput();
    if (!worker->Wait()) Die("a worker ended badly, see its log");
  }
}

void Workers::MakeStates(uint64_t bytes_each) {
  for (size_t i = 0; i < workers_.size(); ++i) {
    workers_[i]->Tell(fmt::format("state {} {}", RunOf(static_cast<int>(i)), bytes_each));
  }
  for (const auto& worker : workers_) worker->HearOk();
}

double Workers::Push() {
  Tell("refill");
  return Timed([&] { Tell("push"); });
}

double Workers::Fetch(int times) {
  return Timed([&] { Tell(fmt::format("fetch {}", times)); });
}

void Workers::Tell(const std::string& line) {
  for (const auto& worker : workers_) worker->Tell(line);
  for (const auto& worker : workers_) worker->HearOk();
}

}  // namespace ckpt::bench
