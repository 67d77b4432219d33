#include "daemon/rpc/byte_streams.h"

#include <malloc.h>

#include <thread>
#include <utility>

#include <fmt/format.h>

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
      return ckpt::MakeError(absl::StatusCode::kResourceExhausted, ckpt::reason::kTooLarge,
                             fmt::format("{} chunk streams are under way already; try again "
                                         "later", limit_));
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

ReadStream::ReadStream(StreamThreads* threads, std::function<absl::Status(ReadStream&)> body) {
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
    mutex_.Await(absl::Condition(&settled));
    if (state_ == State::kEnded) return false;
    buffer->Swap(&incoming_);
    incoming_.Clear();
    state_ = State::kWaiting;
  }
  // The next message arrives while the caller works on this one.
  StartRead(&incoming_);
  return true;
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

WriteStream::WriteStream(StreamThreads* threads, std::function<absl::Status(WriteStream&)> body) {
  absl::Status started = threads->Run([this, body = std::move(body)] {
    absl::Status status = body(*this);
    {
      absl::MutexLock lock(&mutex_);
      auto idle = [this]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) { return !writing_ || broken_; };
      mutex_.Await(absl::Condition(&idle));
    }
    Finish(ckpt::ToGrpc(status));
    Release();
  });
  if (!started.ok()) {
    Finish(ckpt::ToGrpc(started));
    Release();
  }
}

bool WriteStream::Write(grpc::ByteBuffer buffer) {
  {
    absl::MutexLock lock(&mutex_);
    auto idle = [this]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) { return !writing_ || broken_; };
    mutex_.Await(absl::Condition(&idle));
    if (broken_) return false;
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
