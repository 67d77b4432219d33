#include "daemon/chunks/set_aside.h"

#include <algorithm>
#include <set>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include "daemon/chunks/pack_directory.h"

namespace ckptd {
namespace {

// In `packs`, which may be a file system of its own. One of an earlier time is not
// added to: it may hold packs of the same numbers.
absl::StatusOr<std::string> NewFolder(os::FileSystem* fs, const Layout& layout, absl::Time now) {
  ASSIGN_OR_RETURN(const std::vector<std::string> names, fs->List(layout.Packs()));
  const std::string base =
      Layout::kAside + absl::FormatTime("%Y%m%dT%H%M%SZ", now, absl::UTCTimeZone());
  std::string name = base;
  for (int i = 2; std::ranges::find(names, name) != names.end(); ++i) {
    name = fmt::format("{}-{}", base, i);
  }
  const std::string folder = layout.Packs() + "/" + name;
  RETURN_IF_ERROR(fs->CreateDirs(folder).status());
  RETURN_IF_ERROR(fs->SyncDir(layout.Packs()));
  return folder;
}

}  // namespace

absl::StatusOr<uint64_t> SetAsideNewerPacks(os::FileSystem* fs, const Layout& layout, PackId newest,
                                            absl::Time now) {
  ASSIGN_OR_RETURN(const auto packs, PackDirectory::Open(fs, layout));
  ASSIGN_OR_RETURN(std::vector<PackId> ids, packs->List());
  std::erase_if(ids, [&](PackId id) { return id <= newest; });
  if (ids.empty()) return 0;
  ASSIGN_OR_RETURN(const std::string folder, NewFolder(fs, layout, now));
  std::set<std::string> changed = {folder};
  for (const PackId id : ids) {
    const std::string from = layout.Pack(id);
    RETURN_IF_ERROR(fs->Rename(from, folder + from.substr(from.rfind('/'))));
    changed.insert(layout.PackDir(id));
  }
  for (const std::string& dir : changed) RETURN_IF_ERROR(fs->SyncDir(dir));
  spdlog::warn(
      "{} packs were written after all that the catalog knows; they are in {} now, where nothing "
      "uses them, and can be removed",
      ids.size(), folder);
  return ids.size();
}

}  // namespace ckptd
