// The bulk calls as blocking streams of byte buffers.
//
// gRPC hands raw byte buffers to its callback API only, whose callbacks must
// not block; disk writes do. So each bulk stream gets a thread of its own,
// and these classes turn callbacks into calls that wait, but not for ever: a
// stream on which nothing moves for `idle` ends. They delete themselves once gRPC
// and the thread are both done with them.
#pragma once

#include <functional>

#include <absl/base/thread_annotations.h>
#include <absl/synchronization/mutex.h>
#include <absl/time/time.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>

#include "proto/status.h"

namespace ckptd {

// Counts the threads of bulk streams, so that the daemon can wait for them and
// refuse more than it can serve. Thread-safe.
class StreamThreads {
 public:
  explicit StreamThreads(int limit) : limit_(limit) {}
  // Waits for all threads to end.
  ~StreamThreads();

  // UNAVAILABLE, for a while, when `limit` threads are running.
  absl::Status Run(std::function<void()> body);
  int running();

 private:
  const int limit_;
  absl::Mutex mutex_;
  int running_ ABSL_GUARDED_BY(mutex_) = 0;
};

// Frames from the client; one answer.
class ReadStream final : public grpc::ServerReadReactor<grpc::ByteBuffer> {
 public:
  // `body` runs on a thread; its status ends the call.
  ReadStream(StreamThreads* threads, absl::Duration idle,
             std::function<absl::Status(ReadStream&)> body);

  // Waits for the next message. False: the client is done, gone, or idle.
  bool Read(grpc::ByteBuffer* buffer);
  // UNAVAILABLE/STREAM_IDLE once Read has waited for too long.
  absl::Status CheckIdle() const;

 private:
  void OnReadDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;
  void Release();

  absl::Mutex mutex_;
  enum class State { kWaiting, kReady, kEnded } state_ ABSL_GUARDED_BY(mutex_) = State::kWaiting;
  int owners_ ABSL_GUARDED_BY(mutex_) = 2;
  const absl::Duration idle_;
  bool was_idle_ = false;  // the body's thread only
  grpc::ByteBuffer incoming_;
};

// One request; frames to the client.
class WriteStream final : public grpc::ServerWriteReactor<grpc::ByteBuffer> {
 public:
  // Of a client that takes nothing for `idle` the call is cancelled.
  WriteStream(StreamThreads* threads, grpc::CallbackServerContext* context, absl::Duration idle,
              std::function<absl::Status(WriteStream&)> body);

  // Waits until the message before has left, then sends this one. False: the
  // client is gone, or takes nothing.
  bool Write(grpc::ByteBuffer buffer);

 private:
  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;
  void Release();
  // Until nothing is being written. False: nor can be any more.
  bool WaitForRoom();

  grpc::CallbackServerContext* const context_;
  const absl::Duration idle_;
  absl::Mutex mutex_;
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;
  bool broken_ ABSL_GUARDED_BY(mutex_) = false;
  int owners_ ABSL_GUARDED_BY(mutex_) = 2;
  grpc::ByteBuffer outgoing_;
};

}  // namespace ckptd
