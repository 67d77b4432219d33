// Bytes that are no message, to every method and to the bare port; messages
// past the limit. The daemon says so and goes on.
#include <random>

#include <gtest/gtest.h>

#include <fmt/format.h>

#include "proto/limits.h"
#include "tests/integration/daemon/wire.h"

namespace ckpt::test {
namespace {

using Code = absl::StatusCode;

std::string RandomBytes(uint64_t seed, size_t size) {
  std::string bytes(size, '\0');
  FillRandom(seed, 0, std::as_writable_bytes(std::span(bytes)));
  return bytes;
}

class Garbage : public Refusals {};

TEST_F(Garbage, ToEveryMethodIsRefusedWithOneSentence) {
  // None of these is protobuf: a field that does not end, a group's end, a
  // field number 0, eleven bytes of varint.
  const std::map<std::string, std::string> messages = {
      {"a field that does not end", std::string("\x0a\x7f", 2) + "short"},
      {"an end without a group", "\x0c"},
      {"field number 0", std::string("\x00\x01", 2)},
      {"a varint of eleven bytes", "\x08" + std::string(10, '\xff') + "\x01"},
      {"a megabyte of one byte", std::string(kMiB, '\xff')},
  };
  Remember();
  for (const auto* method : Methods()) {
    for (const auto& [what, message] : messages) {
      const Reply reply = CallRaw(channel_, FullName(method->name()), {message});
      ExpectRefused(method->name() + ": " + what, reply.status, Code::kInvalidArgument,
                    method->client_streaming() || method->name() == "FetchChunks"
                        ? reason::kBadFrame
                        : reason::kBadField);
    }
  }
}

// Random bytes may by chance be a message: then whatever answer is right, but
// none that breaks anything or says nothing.
TEST_F(Garbage, RandomBytesToEveryMethodBreakNothing) {
  Remember();
  std::mt19937_64 random(7);
  for (const auto* method : Methods()) {
    // An empty message is a right one for these.
    for (int i = 0; i < 40; ++i) {
      const size_t size = 1 + random() % (i % 4 == 0 ? 3000 : 40);
      const Reply reply =
          CallRaw(channel_, FullName(method->name()), {RandomBytes(random(), size)});
      if (reply.status.ok()) continue;
      EXPECT_TRUE(IsOneSentence(std::string(reply.status.message()))) << method->name();
      EXPECT_NE(ReasonOf(reply.status), "") << method->name() << ": " << reply.status;
      EXPECT_NE(ReasonOf(reply.status), reason::kInternal) << method->name() << reply.status;
    }
  }
  EXPECT_EQ(Picture(daemon_.address()), before_);
}

TEST_F(Garbage, AMethodThatDoesNotExistIsUnimplemented) {
  for (const std::string method : {"/ckpt.v1.Checkpoints/Drop", "/other.Service/Call", "/"}) {
    EXPECT_EQ(CallRaw(channel_, method, {""}).status.code(), Code::kUnimplemented) << method;
  }
}

TEST_F(Garbage, MessagesPastTheLimitAreRefused) {
  Remember();
  for (const char* method : {"OpenUpload", "ListRuns", "PushChunks"}) {
    const Reply reply =
        CallRaw(channel_, FullName(method), {std::string(kMaxMessageBytes + 1, '\0')});
    // gRPC's own refusal, before a byte of it is kept.
    ExpectRefused(method, reply.status, Code::kResourceExhausted, "");
  }
}

TEST_F(Garbage, NoMessageOrTwoWhereOneIsDueIsRefused) {
  Remember();
  for (const char* method : {"OpenUpload", "GetRun", "FetchChunks", "Verify"}) {
    EXPECT_FALSE(CallRaw(channel_, FullName(method), {}).status.ok()) << method;
  }
  EXPECT_EQ(Picture(daemon_.address()), before_);
}

TEST_F(Garbage, StraightToThePortBreaksNothing) {
  const std::string preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
  const std::string settings("\0\0\0\x04\0\0\0\0\0", 9);
  const std::vector<std::string> floods = {
      "",
      "\n",
      "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
      RandomBytes(1, 100),
      RandomBytes(2, 4 * kMiB),
      preface.substr(0, 10),
      preface + RandomBytes(3, kMiB),
      preface + settings + RandomBytes(4, kMiB),
      // A frame that says it has 16 MiB, and a header block that is none.
      preface + settings + std::string("\xff\xff\xff\x00\x00\x00\x00\x00\x01", 9),
      preface + settings + std::string("\x00\x00\x08\x01\x04\x00\x00\x00\x01", 9) +
          std::string(8, '\xff'),
      std::string("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 11) + RandomBytes(5, 500),
  };
  Remember();
  const int port = std::stoi(daemon_.address().substr(daemon_.address().rfind(':') + 1));
  for (size_t i = 0; i < floods.size(); ++i) {
    SCOPED_TRACE(fmt::format("flood {}", i));
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(static_cast<uint16_t>(port));
    ASSERT_EQ(connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
    for (size_t done = 0; done < floods[i].size();) {
      const ssize_t n = send(fd, floods[i].data() + done, floods[i].size() - done, MSG_NOSIGNAL);
      if (n <= 0) break;  // it hung up: rightly so
      done += static_cast<size_t>(n);
    }
    close(fd);
    EXPECT_EQ(Picture(daemon_.address()), before_);
    ASSERT_FALSE(daemon_.process().Ended()) << daemon_.process().Output();
  }
}

}  // namespace
}  // namespace ckpt::test
