#include "daemon/chunks/pack_store.h"

#include <utility>

#include <fmt/format.h>

#include "daemon/chunks/buffer_pool.h"
#include "daemon/chunks/encoded_chunk.h"
#include "daemon/chunks/layout.h"
#include "daemon/chunks/pack_checker.h"
#include "daemon/chunks/pack_directory.h"
#include "daemon/chunks/pack_reader.h"
#include "daemon/chunks/pack_writer.h"
#include "daemon/chunks/recovery.h"

namespace ckptd {
namespace {

constexpr size_t kOpenPacks = 256;

class PackStore final : public ChunkStore {
 public:
  explicit PackStore(std::unique_ptr<PackDirectory> packs)
      : packs_(std::move(packs)),
        buffers_(kWriteBuffers, kWriteBufferBytes),
        reader_(packs_.get(), kOpenPacks),
        checker_(packs_.get()) {}

  absl::StatusOr<std::unique_ptr<PackWriter>> NewPack(PackId id,
                                                      uint64_t expected_bytes) override {
    return FilePackWriter::Create(packs_.get(), &buffers_, id, expected_bytes);
  }

  absl::Status Read(const ckpt::Digest& digest, const ChunkLocation& location,
                    std::span<std::byte> out, bool verify) override {
    if (location.encoded != 0) return ReadEncodedChunk(reader_, digest, location, out);
    return reader_.Read(digest, location, out, verify);
  }

  absl::StatusOr<std::unique_ptr<os::SharedBytes>> View(const ckpt::Digest& digest,
                                                        const ChunkLocation& location) override {
    if (location.encoded == 0) return reader_.View(digest, location);
    auto bytes = std::make_unique<os::OwnBytes>(location.length);
    RETURN_IF_ERROR(ReadEncodedChunk(reader_, digest, location, bytes->memory()));
    return bytes;
  }

  absl::Status Check(const ckpt::Digest& digest, const ChunkLocation& location) override {
    return checker_.Check(digest, location);
  }

  absl::Status CheckHeader(PackId id) override { return checker_.CheckHeader(id); }

  void Prefetch(std::span<const ChunkLocation> locations) override { reader_.Prefetch(locations); }

  absl::Status Punch(const ChunkLocation& location) override {
    if (location.offset < kPackHeaderBytes || location.offset % os::kBlockBytes != 0 ||
        location.extent != RecordExtent(location.payload())) {
      return ckpt::MakeError(
          absl::StatusCode::kInternal, ckpt::reason::kInternal,
          fmt::format("{} bytes at {} of pack {:016x} are no record: nothing was punched",
                      location.extent, location.offset, location.pack));
    }
    const absl::StatusOr<std::unique_ptr<os::File>> file = packs_->OpenForUpdate(location.pack);
    if (absl::IsNotFound(file.status())) return absl::OkStatus();
    if (!file.ok()) return file.status();
    RETURN_IF_ERROR((*file)->PunchHole(location.offset, location.extent));
    packs_->Measure(location.pack, **file);
    return absl::OkStatus();
  }

  absl::Status SyncPunched(PackId id) override {
    const absl::StatusOr<std::unique_ptr<os::File>> file = packs_->OpenForUpdate(id);
    if (absl::IsNotFound(file.status())) return absl::OkStatus();
    if (!file.ok()) return file.status();
    return (*file)->SyncData();
  }

  absl::Status RemovePack(PackId id) override {
    const absl::Status removed = packs_->Remove(id);
    reader_.Forget(id);  // afterwards: a read may open it until it is gone
    return removed;
  }

  absl::StatusOr<RecoveredPack> RecoverPack(PackId id) override {
    reader_.Forget(id);
    return ckptd::RecoverPack(packs_.get(), id);
  }

  absl::StatusOr<std::vector<PackId>> ListPacks() override { return packs_->List(); }

  absl::StatusOr<Usage> GetUsage() override { return packs_->GetUsage(); }

 private:
  const std::unique_ptr<PackDirectory> packs_;
  BufferPool buffers_;
  PackReader reader_;
  PackChecker checker_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<ChunkStore>> OpenPackStore(os::FileSystem* fs,
                                                          std::string data_dir) {
  ASSIGN_OR_RETURN(std::unique_ptr<PackDirectory> packs,
                   PackDirectory::Open(fs, Layout(std::move(data_dir))));
  return std::make_unique<PackStore>(std::move(packs));
}

}  // namespace ckptd
