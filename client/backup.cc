// Client's call that backs the catalog up.
#include "client/client.h"
#include "proto/convert.h"
#include "proto/digest.h"

namespace ckpt {
namespace {

// Whether what came is the whole of what the daemon says it sent.
absl::Status CheckWhole(const std::optional<CatalogBackup>& sent, uint64_t bytes,
                        const Digest& digest) {
  if (!sent) return absl::UnavailableError("the stream of the backup ended before it was whole");
  if (sent->bytes == bytes && sent->digest == digest) return absl::OkStatus();
  return MakeError(absl::StatusCode::kDataLoss, reason::kDigestMismatch,
                   fmt::format("the backup of the catalog came with other bytes than ckptd sent "
                               "({} of {}): they were hurt on the way, make it again",
                               bytes, sent->bytes));
}

}  // namespace

absl::StatusOr<CatalogBackup> Client::BackUpCatalog(const FileSink& sink, Cancel* cancel) {
  Retry retry(options_.retry, options_.world, cancel);
  while (true) {
    grpc::ClientContext context;
    const std::string token = CurrentToken();
    Authorize(context);
    Cancel::Scope scope(cancel, [&context] { context.TryCancel(); });
    const auto reader = stub_->BackUpCatalog(&context, v1::BackUpCatalogRequest());
    uint64_t bytes = 0;
    Hasher hasher;
    std::optional<CatalogBackup> sent;
    absl::Status taken;
    v1::BackUpCatalogResponse response;
    while (taken.ok() && reader->Read(&response)) {
      const auto part = std::as_bytes(std::span(response.data()));
      hasher.Add(part);
      if (!part.empty()) taken = sink(bytes, part);
      bytes += part.size();
      if (response.has_backup()) sent = FromProto(response.backup());
    }
    if (!taken.ok()) context.TryCancel();
    absl::Status status = FromGrpc(reader->Finish());
    if (!taken.ok()) return taken;
    if (status.ok()) status = CheckWhole(sent, bytes, hasher.Get());
    if (status.ok()) return *sent;
    if (TokenWasReplaced(status, token) ? retry.AgainAnyway() : retry.Again(status)) continue;
    if (cancel != nullptr && cancel->requested()) {
      return absl::CancelledError("the backup was cancelled");
    }
    return Translate(status);
  }
}

}  // namespace ckpt
