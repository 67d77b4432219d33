// A project's quota: what it may have at most. A push past it is refused.
#include <algorithm>

#include <spdlog/spdlog.h>

#include "daemon/catalog/chunks.h"
#include "daemon/catalog/projects.h"
#include "daemon/store/errors.h"
#include "daemon/store/store.h"

namespace ckptd {
namespace {

// What is stored, without what is removed and on its way back to the disk. What
// could be restored counts: it holds its space for as long as it pleases.
absl::StatusOr<uint64_t> HeldBytes(catalog::ReadTxn& txn, const catalog::ProjectRow& project,
                                   absl::Time now) {
  ASSIGN_OR_RETURN(const auto going, catalog::ListRemovedHolding(txn, project.id, now));
  ASSIGN_OR_RETURN(const uint64_t freed, catalog::FreedBy(txn, going));
  return project.stored_bytes - std::min(freed, project.stored_bytes);
}

uint64_t LimitOf(const std::optional<uint64_t>& own, uint64_t by_default) {
  return own.value_or(by_default);
}

}  // namespace

void Store::SetDefaultQuota(const QuotaDefaults& quota) {
  absl::MutexLock lock(&policy_mutex_);
  default_quota_ = quota;
}

uint64_t Store::AnnouncedBytes(int64_t project_id) {
  absl::MutexLock lock(&uploads_mutex_);
  uint64_t bytes = 0;
  for (const auto& [row, upload] : uploads_) {
    if (upload->row().project_id == project_id) bytes += upload->announced_bytes();
  }
  return bytes;
}

absl::StatusOr<ckpt::Quota> Store::DescribeQuota(catalog::ReadTxn& txn,
                                                 const catalog::ProjectRow& project) {
  QuotaDefaults defaults;
  {
    absl::MutexLock lock(&policy_mutex_);
    defaults = default_quota_;
  }
  ASSIGN_OR_RETURN(const catalog::ProjectUse use, catalog::GetProjectUse(txn, project.id));
  ASSIGN_OR_RETURN(const uint64_t held, HeldBytes(txn, project, clock_->Now()));
  const auto limit = [](const std::optional<uint64_t>& own, uint64_t by_default, uint64_t used) {
    return ckpt::Quota::Limit{LimitOf(own, by_default), !own.has_value(), used};
  };
  return ckpt::Quota{project.name,
                     limit(project.quota_bytes, defaults.bytes, held + AnnouncedBytes(project.id)),
                     limit(project.quota_checkpoints, defaults.checkpoints,
                           use.checkpoints + use.open_checkpoints),
                     limit(project.quota_uploads, defaults.uploads, use.uploads)};
}

absl::StatusOr<ckpt::Quota> Store::GetQuota(const std::string& name) {
  ASSIGN_OR_RETURN(auto txn, catalog_->BeginRead());
  ASSIGN_OR_RETURN(const auto project, catalog::FindProject(*txn, name));
  if (project) return DescribeQuota(*txn, *project);
  catalog::ProjectRow none;
  none.name = name;
  return DescribeQuota(*txn, none);
}

absl::StatusOr<ckpt::Quota> Store::SetQuota(const std::string& name,
                                            const ckpt::QuotaChange& change,
                                            const Once<ckpt::Quota>& once) {
  ASSIGN_OR_RETURN(auto txn, catalog_->BeginWrite());
  ASSIGN_OR_RETURN(catalog::ProjectRow project, catalog::CreateProject(*txn, name));
  if (change.bytes) project.quota_bytes = change.bytes->limit;
  if (change.checkpoints) project.quota_checkpoints = change.checkpoints->limit;
  if (change.uploads) project.quota_uploads = change.uploads->limit;
  RETURN_IF_ERROR(catalog::SetProjectQuota(*txn, project));
  ASSIGN_OR_RETURN(const ckpt::Quota quota, DescribeQuota(*txn, project));
  RETURN_IF_ERROR(Remember(*txn, once, quota));
  RETURN_IF_ERROR(txn->Commit());
  spdlog::info("the quota of project {} is {} bytes, {} checkpoints, {} uploads (0: no limit)",
               name, quota.bytes.limit, quota.checkpoints.limit, quota.uploads.limit);
  return quota;
}

absl::Status Store::CheckQuota(catalog::ReadTxn& txn, int64_t project_id, uint64_t more_bytes) {
  QuotaDefaults defaults;
  {
    absl::MutexLock lock(&policy_mutex_);
    defaults = default_quota_;
  }
  ASSIGN_OR_RETURN(const auto project, catalog::FindProjectById(txn, project_id));
  if (!project) return absl::OkStatus();
  const uint64_t checkpoints = LimitOf(project->quota_checkpoints, defaults.checkpoints);
  const uint64_t uploads = LimitOf(project->quota_uploads, defaults.uploads);
  if (checkpoints != 0 || uploads != 0) {
    ASSIGN_OR_RETURN(const catalog::ProjectUse use, catalog::GetProjectUse(txn, project_id));
    const uint64_t used = use.checkpoints + use.open_checkpoints;
    if (checkpoints != 0 && used > checkpoints) {
      return QuotaExceeded(project->name, "checkpoints", checkpoints, used);
    }
    if (uploads != 0 && use.uploads > uploads) {
      return QuotaExceeded(project->name, "open uploads", uploads, use.uploads);
    }
  }
  const uint64_t bytes = LimitOf(project->quota_bytes, defaults.bytes);
  // What goes is added up only where it could matter.
  if (bytes == 0 || project->stored_bytes + more_bytes <= bytes) return absl::OkStatus();
  ASSIGN_OR_RETURN(const uint64_t held, HeldBytes(txn, *project, clock_->Now()));
  if (held + more_bytes <= bytes) return absl::OkStatus();
  return QuotaExceeded(project->name, "bytes on disk", bytes, held + more_bytes);
}

}  // namespace ckptd
