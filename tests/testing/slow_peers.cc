#include "tests/testing/slow_peers.h"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include <absl/time/clock.h>

#include "proto/channel.h"
#include "tests/testing/loopback.h"

namespace ckpt::test {
namespace {

// Frames of HTTP/2 (RFC 9113): three bytes of length, type, flags, four of the
// stream's number.
constexpr size_t kHeaderBytes = 9;
constexpr char kPing = 6, kGoAway = 7, kAck = 1;

std::string Frame(char type, const std::string& payload) {
  std::string frame(kHeaderBytes, '\0');
  frame[2] = static_cast<char>(payload.size());
  frame[3] = type;
  return frame + payload;
}

bool SendAll(int fd, const std::string& bytes) {
  return send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(bytes.size());
}

// Takes the frame that `bytes` begin with from them; false: it is not all there.
bool TakeFrame(std::string& bytes, char& type, char& flags) {
  if (bytes.size() < kHeaderBytes) return false;
  const auto byte = [&](size_t i) { return static_cast<size_t>(static_cast<uint8_t>(bytes[i])); };
  const size_t size = kHeaderBytes + (byte(0) << 16 | byte(1) << 8 | byte(2));
  if (bytes.size() < size) return false;
  type = bytes[3];
  flags = bytes[4];
  bytes.erase(0, size);
  return true;
}

}  // namespace

// ---- IdleConnection --------------------------------------------------------------

absl::StatusOr<std::unique_ptr<IdleConnection>> IdleConnection::Open(int port) {
  const int fd = ConnectTo(port);
  if (fd < 0) return absl::UnavailableError(std::strerror(errno));
  std::unique_ptr<IdleConnection> connection(new IdleConnection(fd));
  const std::string hello = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + Frame(/*SETTINGS*/ 4, "");
  if (!SendAll(fd, hello)) return absl::UnavailableError(std::strerror(errno));
  return connection;
}

IdleConnection::~IdleConnection() { close(fd_); }

bool IdleConnection::Answers(absl::Duration limit) {
  if (!SendAll(fd_, Frame(kPing, "answer!?"))) return false;
  const absl::Time end = absl::Now() + limit;
  std::string received;
  for (;;) {
    for (char type = 0, flags = 0; TakeFrame(received, type, flags);) {
      if (type == kGoAway) return false;
      if (type == kPing && flags == kAck) return true;
    }
    const absl::Duration left = std::max(end - absl::Now(), absl::ZeroDuration());
    pollfd readable = {.fd = fd_, .events = POLLIN, .revents = 0};
    if (poll(&readable, 1, static_cast<int>(absl::ToInt64Milliseconds(left))) != 1) return false;
    std::array<char, 4096> buffer;
    const ssize_t size = recv(fd_, buffer.data(), buffer.size(), 0);
    if (size <= 0) return false;
    received.append(buffer.data(), static_cast<size_t>(size));
  }
}

// ---- SlowPush ---------------------------------------------------------------------

// Bidirectional, so that the daemon's answer can be read before all was sent.
SlowPush::SlowPush(std::shared_ptr<grpc::Channel> channel, std::string upload_id)
    : channel_(std::move(channel)), upload_id_(std::move(upload_id)) {
  static const grpc::internal::RpcMethod method(kPushChunksMethod,
                                                grpc::internal::RpcMethod::BIDI_STREAMING);
  call_.reset(
      grpc::internal::ClientReaderWriterFactory<v1::ChunkFrame, v1::PushChunksResponse>::Create(
          channel_.get(), method, &context_));
}

bool SlowPush::Send(uint32_t chunk, std::span<const std::byte> bytes) {
  v1::ChunkFrame frame;
  frame.set_upload_id(upload_id_);
  frame.set_chunk_index(chunk);
  frame.set_data(bytes.data(), bytes.size());
  return call_->Write(frame);
}

absl::StatusOr<uint64_t> SlowPush::End() {
  v1::ChunkFrame frame;
  frame.set_upload_id(upload_id_);
  frame.set_end(true);
  v1::PushChunksResponse totals;
  // Where one of these fails the status says why.
  if (call_->Write(frame) && call_->WritesDone()) call_->Read(&totals);
  RETURN_IF_ERROR(FromGrpc(call_->Finish()));
  return totals.chunks();
}

absl::Status SlowPush::WaitForEnd() {
  v1::PushChunksResponse response;
  while (call_->Read(&response)) continue;
  return FromGrpc(call_->Finish());
}

// ---- SlowFetch --------------------------------------------------------------------

SlowFetch::SlowFetch(std::shared_ptr<grpc::Channel> channel, uint64_t checkpoint_id)
    : channel_(std::move(channel)), stub_(channel_) {
  v1::FetchChunksRequest request;
  request.set_checkpoint_id(checkpoint_id);
  call_ = stub_.FetchChunks(&context_, request);
}

bool SlowFetch::Take() {
  v1::ChunkFrame frame;
  return call_->Read(&frame);
}

absl::Status SlowFetch::End() {
  while (Take()) continue;
  return FromGrpc(call_->Finish());
}

}  // namespace ckpt::test
