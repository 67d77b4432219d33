#include "tests/bench/training.h"

#include <algorithm>
#include <array>
#include <filesystem>

#include <torch/torch.h>

#include "tests/bench/common.h"
#include "tests/bench/disk.h"
#include "tests/bench/rows.h"

namespace ckpt::bench {
namespace {

constexpr char kRun[] = "gpt2";
constexpr int kStepsASave = 20;
constexpr int kStepsAlone = 10;

}  // namespace

Training::Training(const Setup& setup, Peers& peers, double step_seconds, Report& report)
    : setup_(setup),
      peers_(peers),
      report_(report),
      source_(Gpt2Tensors()),
      bytes_(BytesOf(source_)),
      left_(torch::rand({768, 768})),
      right_(torch::rand({768, 768})) {
  Steps(20);  // the first ones are slow
  const double product = Timed([&] { Steps(50); }) / 50;
  products_a_step_ = std::max(1, static_cast<int>(step_seconds / product));
  step_seconds_ = products_a_step_ * product;
}

Training::~Training() {
  saver_.reset();
  DeleteRun(setup_.daemon, kRun);
  std::error_code ignored;
  std::filesystem::remove(setup_.directory + "/raw", ignored);
}

void Training::Round(size_t first) {
  constexpr std::array kAll = {&Training::MeasureDisk,  &Training::MeasureCopy,
                               &Training::MeasureSave,  &Training::MeasureTorch,
                               &Training::MeasureFetch, &Training::MeasureSteps};
  for (size_t i = 0; i < kAll.size(); ++i) (this->*kAll[(first + i) % kAll.size()])();
}

void Training::Settle() const { bench::Settle(setup_.directory); }

void Training::Add(const char* row, double seconds, const char* against) {
  report_.Add(kState, row, {.seconds = seconds, .bytes = bytes_}, against);
}

void Training::Steps(int count) {
  for (int i = 0; i < count * products_a_step_; ++i) {
    left_ = torch::mm(left_, right_).clamp_(0, 1);
  }
}

void Training::MeasureDisk() {
  Add(kRawWrite, RawWrite(setup_.directory + "/raw", bytes_ / (2 << 20) * (2 << 20)), kRawWrite);
}

void Training::MeasureCopy() { Add(kCopy, CopyOnce(source_)); }

void Training::MeasureSave() {
  if (saver_ == nullptr) {
    saver_ = std::make_unique<Saver>(setup_.daemon, kRun);
    Refill(source_);
    saver_->Save(source_);
  }
  Refill(source_);
  Settle();
  const SaveResult result = saver_->Save(source_);
  Add(kPush, absl::ToDoubleSeconds(result.duration), kRawWrite);
  Add(kStall, absl::ToDoubleSeconds(result.stall));
}

void Training::MeasureTorch() {
  Settle();
  Add(kTorchSave, peers_.torch.Put(source_), kRawWrite);
  peers_.torch.Clear();
}

void Training::MeasureFetch() {
  Tensors target = Gpt2Tensors();
  Refill(target);
  FetchLatest(setup_.daemon, kRun, target);  // into the page cache
  Refill(target);
  Add(kFetchWarm, FetchLatest(setup_.daemon, kRun, target));
  MustEqual(source_, target);
}

void Training::MeasureSteps() {
  Refill(source_);
  Settle();
  const double alone = Timed([&] { Steps(kStepsAlone); }) / kStepsAlone * kStepsASave;
  // The next save waits for this one, should it not be durable by then.
  const double with_save = Timed([&] {
    saver_->Begin(source_);
    Steps(kStepsASave);
    saver_->End();
  });
  report_.Add(kState, kSteps, {.seconds = alone});
  report_.Add(kState, kStepsWithSave, {.seconds = with_save});
}

}  // namespace ckpt::bench
