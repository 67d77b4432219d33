#include "tests/integration/daemon/wire.h"

#include <fmt/format.h>
#include <google/protobuf/dynamic_message.h>
#include <google/protobuf/text_format.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/support/sync_stream.h>

#include "proto/channel.h"

namespace ckpt::test {

using google::protobuf::MethodDescriptor;

std::shared_ptr<grpc::Channel> RawChannel(
    const std::string& address, const std::shared_ptr<grpc::ChannelCredentials>& credentials) {
  grpc::ChannelArguments arguments = TunedChannelArguments();
  arguments.SetMaxSendMessageSize(-1);
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  return grpc::CreateCustomChannel(address, credentials, arguments);
}

Reply CallRaw(const std::shared_ptr<grpc::Channel>& channel, const std::string& method,
              const std::vector<std::string>& messages, const Metadata& metadata) {
  // On the wire every kind of call is a bidirectional stream.
  const grpc::internal::RpcMethod stream(method.c_str(), grpc::internal::RpcMethod::BIDI_STREAMING);
  grpc::ClientContext context;
  for (const auto& [key, value] : metadata) context.AddMetadata(key, value);
  context.set_wait_for_ready(true);
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(120));
  const std::unique_ptr<grpc::ClientReaderWriter<grpc::ByteBuffer, grpc::ByteBuffer>> call(
      grpc::internal::ClientReaderWriterFactory<grpc::ByteBuffer, grpc::ByteBuffer>::Create(
          channel.get(), stream, &context));
  for (const std::string& message : messages) {
    const grpc::Slice slice(message);
    if (!call->Write(grpc::ByteBuffer(&slice, 1))) break;
  }
  call->WritesDone();
  Reply reply;
  for (grpc::ByteBuffer buffer; call->Read(&buffer);) {
    std::vector<grpc::Slice> slices;
    EXPECT_TRUE(buffer.Dump(&slices).ok());
    std::string& message = reply.messages.emplace_back();
    for (const grpc::Slice& slice : slices) {
      message.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
    }
  }
  reply.status = FromGrpc(call->Finish());
  return reply;
}

std::vector<const MethodDescriptor*> Methods() {
  v1::OpenAttemptRequest::descriptor();  // links the file in
  const auto* service =
      google::protobuf::DescriptorPool::generated_pool()->FindServiceByName("ckpt.v1.Checkpoints");
  std::vector<const MethodDescriptor*> methods;
  for (int i = 0; i < service->method_count(); ++i) methods.push_back(service->method(i));
  return methods;
}

std::string FullName(const std::string& method) { return "/ckpt.v1.Checkpoints/" + method; }

std::string Encode(const std::string& method, std::string text,
                   const std::map<std::string, std::string>& words) {
  auto replace = [&](const std::string& from, const std::string& to) {
    for (size_t at; (at = text.find(from)) != std::string::npos;) text.replace(at, from.size(), to);
  };
  replace("$10k", std::string(10240, 'a'));
  for (const auto& [word, value] : words) replace("$" + word, value);
  for (const MethodDescriptor* descriptor : Methods()) {
    if (descriptor->name() != method) continue;
    const std::unique_ptr<google::protobuf::Message> message(
        google::protobuf::MessageFactory::generated_factory()
            ->GetPrototype(descriptor->input_type())
            ->New());
    EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, message.get()))
        << text.substr(0, 300);
    return message->SerializeAsString();
  }
  ADD_FAILURE() << "there is no method " << method;
  return "";
}

void Refusals::SetUp() {
  ASSERT_TRUE(daemon_.Start());
  client_ = Connect(daemon_.address());
  channel_ = RawChannel(daemon_.address());
  Policy policy;
  policy.keep_last = 1;
  const uint64_t first = OpenAttempt(*client_, kTidy, 1, policy);
  ASSERT_EQ(first, 1u);
  auto removed = PushShard(*client_, kTidy, first, 10, MakeShard(1, 5000));
  ASSERT_TRUE(removed.ok()) << removed.status();
  const auto with_one = client_->GetStats();
  ASSERT_TRUE(with_one.ok()) << with_one.status();
  ASSERT_EQ(OpenAttempt(*client_, kTidy), 2u);
  auto latest = PushShard(*client_, kTidy, 2, 20, MakeShard(2, 5000));
  ASSERT_TRUE(latest.ok()) << latest.status();
  pending_ = MakeShard({{"a", 3, 5 * kMiB}, {"b", 4, 300000}});
  auto upload =
      client_->OpenUpload({.run = kTidy, .attempt = 2, .step = 30, .manifest = &pending_.manifest});
  ASSERT_TRUE(upload.ok()) << upload.status();
  ASSERT_EQ(upload->missing_chunks.size(), 3u);
  words_ = {{"latest", std::to_string(latest->checkpoint->id)},
            {"removed", std::to_string(removed->checkpoint->id)},
            {"upload", upload->upload_id},
            {"tidy", "run { run: 'tidy' }"}};
  // The removed one's space is given back in the background, its pack last.
  ASSERT_TRUE(WaitUntil([&] {
    auto stats = client_->GetStats();
    return stats.ok() && stats->chunks == 1 && stats->reclaimable_bytes == 0 &&
           stats->disk_bytes == with_one->disk_bytes;
  }));
}

void Refusals::ExpectRefused(const std::string& what, const absl::Status& status,
                             absl::StatusCode code, std::string_view reason) {
  SCOPED_TRACE(what);
  EXPECT_EQ(status.code(), code) << status;
  EXPECT_EQ(ReasonOf(status), reason) << status;
  EXPECT_TRUE(IsOneSentence(std::string(status.message())));
  // A lease may end a moment after its call.
  std::string after;
  WaitUntil([&] { return (after = Picture(daemon_.address())) == before_; },
            std::chrono::seconds(5));
  EXPECT_EQ(after, before_);
  EXPECT_FALSE(daemon_.process().Ended()) << daemon_.process().Output();
}

}  // namespace ckpt::test
