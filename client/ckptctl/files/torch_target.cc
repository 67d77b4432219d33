// A .pt file as torch.save writes it: a zip of a pickle and of the tensors'
// bytes, each in a record of its own.
#include "client/ckptctl/files/atomic_file.h"
#include "client/ckptctl/files/target.h"
#include "client/ckptctl/files/torch_layout.h"
#include "client/ckptctl/files/zip_writer.h"

namespace ckpt::ctl {
namespace {

// torch takes the folder's name from the first record.
constexpr char kFolder[] = "archive";
constexpr char kFormatVersion[] = "3\n";

class TorchTarget final : public Target {
 public:
  absl::Status Begin(const std::string& path, const ShardView& shard, bool replace) {
    ASSIGN_OR_RETURN(const TorchLayout layout, LayOutTorch(shard));
    notes_ = layout.notes;
    const std::string pickle = Pickle(layout.root);
    ZipWriter zip(nullptr);
    const auto name = [](const std::string& record) { return kFolder + ("/" + record); };
    records_.resize(shard.manifest->entries.size(), kNoRecord);

    const size_t pickle_record = zip.Add(name("data.pkl"), pickle.size());
    const size_t order_record = zip.Add(name("byteorder"), std::string_view("little").size());
    std::vector<std::pair<size_t, const std::string*>> literals;
    for (const TorchStorage& storage : layout.storages) {
      const uint64_t size =
          storage.literal ? storage.value.size() : shard.manifest->entries[storage.entry].length;
      const size_t record = zip.Add(name("data/" + storage.key), size);
      if (storage.literal) {
        literals.emplace_back(record, &storage.value);
      } else {
        records_[storage.entry] = record;
        if (size > 0) streamed_.push_back(storage.entry);
      }
    }
    const size_t version_record = zip.Add(name("version"), std::string_view(kFormatVersion).size());

    size_ = zip.total_size();
    ASSIGN_OR_RETURN(file_, AtomicFile::Create(path, size_, replace));
    zip.set_file(file_.get());
    RETURN_IF_ERROR(zip.Write(pickle_record, pickle));
    RETURN_IF_ERROR(zip.Write(order_record, "little"));
    RETURN_IF_ERROR(zip.Write(version_record, kFormatVersion));
    for (const auto& [record, value] : literals) RETURN_IF_ERROR(zip.Write(record, *value));
    zip_.emplace(std::move(zip));
    return absl::OkStatus();
  }

  absl::Status Write(size_t entry, uint64_t, std::span<const std::byte> bytes) override {
    return zip_->Write(records_[entry], bytes);
  }

  absl::Status Finish() override {
    RETURN_IF_ERROR(zip_->Finish());
    return file_->Commit(size_);
  }

 private:
  static constexpr size_t kNoRecord = static_cast<size_t>(-1);

  std::unique_ptr<AtomicFile> file_;
  std::optional<ZipWriter> zip_;
  std::vector<size_t> records_;  // by entry
  uint64_t size_ = 0;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Target>> CreateTorchTarget(const std::string& path,
                                                          const ShardView& shard, bool replace) {
  auto target = std::make_unique<TorchTarget>();
  RETURN_IF_ERROR(target->Begin(path, shard, replace));
  return target;
}

}  // namespace ckpt::ctl
