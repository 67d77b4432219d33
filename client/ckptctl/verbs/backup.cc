#include <algorithm>
#include <cctype>
#include <cstring>

#include "client/ckptctl/files/atomic_file.h"
#include "client/ckptctl/json.h"
#include "client/ckptctl/units.h"
#include "client/ckptctl/verbs/verbs.h"

namespace ckpt::ctl {
namespace {

struct Options {
  std::string file;
  bool force = false;
};

// It tells of all projects, and has the hashes of their tokens.
constexpr unsigned kOwnerOnly = 0600;

// As one word for a shell.
std::string Quoted(const std::string& path) {
  const auto is_plain = [](unsigned char c) {
    return std::isalnum(c) != 0 || std::strchr("/._-+:@%,", c) != nullptr;
  };
  if (std::all_of(path.begin(), path.end(), is_plain)) return path;
  std::string quoted = "'";
  for (const char c : path) quoted += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return quoted + "'";
}

absl::Status Run(Session& session, const Options& options) {
  if (options.file.empty() || options.file == "-") {
    return BadField("FILE", "a backup is compared before it is there, and so takes a file");
  }
  ASSIGN_OR_RETURN(Client * daemon, session.Transfers());
  ASSIGN_OR_RETURN(const auto file, AtomicFile::Create(options.file, 0, options.force, kOwnerOnly));
  const Session::Transfer transfer;
  ASSIGN_OR_RETURN(const CatalogBackup backup,
                   daemon->BackUpCatalog(
                       [&](uint64_t offset, std::span<const std::byte> bytes) {
                         return file->WriteAt(offset, bytes);
                       },
                       &session.cancel()));
  RETURN_IF_ERROR(file->Commit(backup.bytes));
  if (session.json()) {
    Json json = {{"file", options.file}};
    json.update(ToJson(backup));
    session.PrintJson(json);
    return absl::OkStatus();
  }
  const std::string path = Printable(options.file, 400);
  session.Print(fmt::format(
      "Saved the catalog as of {} (transaction {}, {}) to {}; to restore it: ckptd --data-dir DIR "
      "--rebuild-catalog --from {}\n",
      TimeText(backup.taken_at, absl::LocalTimeZone()), backup.transaction,
      FormatBytes(backup.bytes), path, Quoted(path)));
  return absl::OkStatus();
}

}  // namespace

void AddBackup(CLI::App& app, Session& session) {
  auto options = std::make_shared<Options>();
  CLI::App* verb = session.AddVerb(
      app, "backup", "Saves the catalog, without the checkpoints' bytes, while the daemon runs",
      [options](Session& s) { return Run(s, *options); });
  verb->add_option("FILE", options->file,
                   "Where to: what `ckptd --rebuild-catalog --from FILE` takes. It appears whole "
                   "or not at all")
      ->required();
  verb->add_flag("-f,--force", options->force, "Replace what is there");
}

}  // namespace ckpt::ctl
