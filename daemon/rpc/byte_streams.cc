#include "daemon/rpc/byte_streams.h"

#include <malloc.h>

#include <thread>
#include <utility>

#include <fmt/format.h>
#include <grpcpp/server_context.h>
#include <spdlog/spdlog.h>

namespace ckptd {

StreamThreads::~StreamThreads() {
  absl::MutexLock lock(&mutex_);
  auto idle = [this]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) { return running_ == 0; };
  mutex_.Await(absl::Condition(&idle));
}

absl::Status StreamThreads::Run(std::function<void()> body) {
  {
    absl::MutexLock lock(&mutex_);
    if (running_ == limit_) {
      return ckpt::MakeError(absl::StatusCode::kUnavailable, ckpt::reason::kTooLarge,
                             fmt::format("{} bulk streams are under way already; try again "
                                         "later",
                                         limit_));
    }
    ++running_;
  }
  std::thread([this, body = std::move(body)] {
    body();
    // main keeps freed memory for the streams; an idle daemon needs none. The
    // call is over by now: nobody waits for this.
    if (running() == 1) malloc_trim(0);
    absl::MutexLock lock(&mutex_);
    --running_;
  }).detach();
  return absl::OkStatus();
}

int StreamThreads::running() {
  absl::MutexLock lock(&mutex_);
  return running_;
}

// ---- ReadStream ----------------------------------------------------------------

ReadStream::ReadStream(StreamThreads* threads, absl::Duration idle,
                       std::function<absl::Status(ReadStream&)> body)
    : idle_(idle) {
  StartRead(&incoming_);
  absl::Status started = threads->Run([this, body = std::move(body)] {
    Finish(ckpt::ToGrpc(body(*this)));
    Release();
  });
  if (!started.ok()) {
    Finish(ckpt::ToGrpc(started));
    Release();
  }
}

bool ReadStream::Read(grpc::ByteBuffer* buffer) {
  {
    absl::MutexLock lock(&mutex_);
    auto settled = [this]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) { return state_ != State::kWaiting; };
    was_idle_ = !mutex_.AwaitWithTimeout(absl::Condition(&settled), idle_);
    if (was_idle_ || state_ == State::kEnded) return false;
    buffer->Swap(&incoming_);
    incoming_.Clear();
    state_ = State::kWaiting;
  }
  // The next message arrives while the caller works on this one.
  StartRead(&incoming_);
  return true;
}

absl::Status ReadStream::CheckIdle() const {
  if (!was_idle_) return absl::OkStatus();
  return ckpt::MakeError(absl::StatusCode::kUnavailable, ckpt::reason::kStreamIdle,
                         fmt::format("no whole message came on this stream for {}; what came "
                                     "before is kept, go on from there",
                                     absl::FormatDuration(idle_)));
}

void ReadStream::OnReadDone(bool ok) {
  absl::MutexLock lock(&mutex_);
  state_ = ok ? State::kReady : State::kEnded;
}

// The read under way fails by itself.
void ReadStream::OnCancel() {}

void ReadStream::OnDone() { Release(); }

void ReadStream::Release() {
  bool last;
  {
    absl::MutexLock lock(&mutex_);
    last = --owners_ == 0;
  }
  if (last) delete this;
}

// ---- WriteStream ---------------------------------------------------------------

WriteStream::WriteStream(StreamThreads* threads, grpc::CallbackServerContext* context,
                         absl::Duration idle, std::function<absl::Status(WriteStream&)> body)
    : context_(context), idle_(idle) {
  absl::Status started = threads->Run([this, body = std::move(body)] {
    absl::Status status = body(*this);
    WaitForRoom();
    Finish(ckpt::ToGrpc(status));
    Release();
  });
  if (!started.ok()) {
    Finish(ckpt::ToGrpc(started));
    Release();
  }
}

bool WriteStream::WaitForRoom() {
  auto settled = [this]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) { return !writing_ || broken_; };
  {
    absl::MutexLock lock(&mutex_);
    if (mutex_.AwaitWithTimeout(absl::Condition(&settled), idle_)) return !broken_;
  }
  spdlog::warn("a stream to {} is given up: nothing was taken for {}", context_->peer(),
               absl::FormatDuration(idle_));
  // No status would reach who reads nothing. Without the lock: OnCancel takes it.
  context_->TryCancel();
  absl::MutexLock lock(&mutex_);
  mutex_.Await(absl::Condition(&settled));
  return !broken_;
}

bool WriteStream::Write(grpc::ByteBuffer buffer) {
  if (!WaitForRoom()) return false;
  {
    absl::MutexLock lock(&mutex_);
    writing_ = true;
  }
  outgoing_.Swap(&buffer);
  StartWrite(&outgoing_);
  return true;
}

void WriteStream::OnWriteDone(bool ok) {
  absl::MutexLock lock(&mutex_);
  writing_ = false;
  broken_ |= !ok;
}

void WriteStream::OnCancel() {
  absl::MutexLock lock(&mutex_);
  broken_ = true;
}

void WriteStream::OnDone() { Release(); }

void WriteStream::Release() {
  bool last;
  {
    absl::MutexLock lock(&mutex_);
    last = --owners_ == 0;
  }
  if (last) delete this;
}

}  // namespace ckptd
