// FetchChunks: chunk frames as byte buffers.
#include <algorithm>
#include <unordered_set>

#include <fmt/format.h>

#include "daemon/rpc/answer.h"
#include "daemon/rpc/service.h"
#include "daemon/store/reader.h"
#include "proto/chunk_frame.h"
#include "proto/chunking.h"
#include "proto/entry_index.h"
#include "proto/names.h"

namespace ckptd {
namespace {

namespace v1 = ckpt::v1;

constexpr char kName[] = "FetchChunks";

// Chunks that the kernel is told of ahead of the one being read. From a cold
// disk 1 GiB came at 0.9 GB/s with 8 of 4 MiB, at 1.4 with 32. It begins with a
// few, since telling takes its time too.
constexpr size_t kReadAheadChunks = 32;
constexpr size_t kFirstReadAheadChunks = 4;

// Which chunks the request asks for, ascending, each once. Takes memory and time
// by the shard's size, however often the request names a part of it.
absl::StatusOr<std::vector<uint32_t>> SelectChunks(const v1::FetchChunksRequest& request,
                                                   const ckpt::Manifest& manifest) {
  const std::vector<uint64_t> offsets = ckpt::ChunkOffsets(manifest);
  std::vector<bool> wanted(manifest.chunks.size());
  const auto add = [&](uint64_t begin, uint64_t end) {
    const ckpt::ChunkSpan span = ckpt::ChunksOf(offsets, begin, end);
    std::fill(wanted.begin() + span.first, wanted.begin() + span.last, true);
  };
  const auto entries = ckpt::EntriesByName(manifest);
  const auto find = [&](const std::string& name) -> absl::StatusOr<const ckpt::Entry*> {
    if (const auto it = entries.find(name); it != entries.end()) return it->second;
    return ckpt::MakeError(absl::StatusCode::kNotFound, ckpt::reason::kEntryNotFound,
                           fmt::format("checkpoint {} rank {} has no entry \"{}\"",
                                       request.checkpoint_id(), request.rank(),
                                       ckpt::Printable(name)));
  };
  for (uint32_t index : request.chunks()) {
    if (index >= manifest.chunks.size()) {
      return ckpt::BadField("chunks", fmt::format("chunk {} does not exist: the shard has {}",
                                                  index, manifest.chunks.size()));
    }
    wanted[index] = true;
  }
  std::unordered_set<const ckpt::Entry*> named;
  for (const std::string& name : request.entries()) {
    ASSIGN_OR_RETURN(const ckpt::Entry* entry, find(name));
    if (named.insert(entry).second) add(entry->offset, entry->offset + entry->length);
  }
  if (request.has_range()) {
    const v1::EntryRange& range = request.range();
    ASSIGN_OR_RETURN(const ckpt::Entry* entry, find(range.entry()));
    if (range.offset() > entry->length || range.length() > entry->length - range.offset()) {
      return ckpt::BadField("range", fmt::format("bytes {}+{} lie outside entry \"{}\", which has "
                                                 "{}", range.offset(), range.length(),
                                                 ckpt::Printable(range.entry()), entry->length));
    }
    add(entry->offset + range.offset(), entry->offset + range.offset() + range.length());
  }
  if (request.chunks().empty() && request.entries().empty() && !request.has_range()) {
    wanted.flip();
  }
  std::vector<uint32_t> indices;
  for (uint32_t i = 0; i < wanted.size(); ++i) {
    if (wanted[i]) indices.push_back(i);
  }
  return indices;
}

// As memory that gRPC sends from, and then lets go.
grpc::Slice Lend(std::unique_ptr<os::SharedBytes> view) {
  const std::span<const std::byte> bytes = view->bytes();
  return ckpt::BorrowSlice(
      bytes.data(), bytes.size(), [](void* lent) { delete static_cast<os::SharedBytes*>(lent); },
      view.release());
}

absl::Status SendChunks(const Guard& guard, WriteStream& stream, Caller caller,
                        const v1::FetchChunksRequest& request) {
  Store& store = *guard.store();
  ASSIGN_OR_RETURN(auto reader, store.OpenReader(request.checkpoint_id(), request.rank()));
  ASSIGN_OR_RETURN(std::vector<uint32_t> indices, SelectChunks(request, reader->manifest()));
  size_t told = 0;
  for (size_t i = 0; i < indices.size(); ++i) {
    const size_t ahead = std::min(2 * i + kFirstReadAheadChunks, i + kReadAheadChunks);
    const size_t end = std::min(indices.size(), ahead);
    reader->Prefetch(std::span(indices).subspan(told, end - told));
    told = end;
    RETURN_IF_ERROR(guard.tokens()->CheckAgain(caller));
    ASSIGN_OR_RETURN(std::unique_ptr<os::SharedBytes> view,
                     reader->Read(indices[i], !request.client_compares()));
    const size_t length = view->bytes().size();
    ckpt::ChunkFrame frame;
    frame.chunk_index = indices[i];
    frame.data.push_back(Lend(std::move(view)));
    if (!stream.Write(ckpt::EncodeFrame(frame))) return absl::CancelledError("the client is gone");
    store.metrics().sent_chunks.Add();
    store.metrics().sent_bytes.Add(length);
  }
  ckpt::ChunkFrame end;
  end.end = true;
  if (!stream.Write(ckpt::EncodeFrame(end))) return absl::CancelledError("the client is gone");
  store.metrics().fetches.Add();
  return absl::OkStatus();
}

}  // namespace

grpc::ServerWriteReactor<grpc::ByteBuffer>* CheckpointsService::FetchChunks(
    grpc::CallbackServerContext* context, const grpc::ByteBuffer* request) {
  const auto parsed = ReadRequest<v1::FetchChunksRequest>(*request);
  // Where it never begins, it is because too many are under way.
  auto meter =
      std::make_shared<CallMeter>(store_->metrics(), kName, absl::StatusCode::kUnavailable);
  auto send = [this, context, parsed](WriteStream& stream) -> absl::Status {
    ASSIGN_OR_RETURN(const Caller caller, guard_.Identify(kName, *context));
    if (parsed == nullptr) {
      return ckpt::MakeError(absl::StatusCode::kInvalidArgument, ckpt::reason::kBadFrame,
                             "the request is no FetchChunksRequest");
    }
    RETURN_IF_ERROR(guard_.CheckNamed(kName, *context, caller, *parsed));
    return SendChunks(guard_, stream, caller, *parsed);
  };
  auto body = [send, meter](WriteStream& stream) -> absl::Status {
    absl::Status status = send(stream);
    meter->End(status.code());
    LogStreamEnd(kName, status);
    return status;
  };
  return new WriteStream(&threads_, context, idle_timeout_, std::move(body));
}

}  // namespace ckptd
