#include "client/token.h"

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <sstream>

#include <fmt/format.h>

#include "proto/names.h"

namespace ckpt {
namespace {

constexpr size_t kPathShown = 400;

// A token goes into a header: anything else could be read as a second one.
absl::StatusOr<std::string> CheckToken(std::string text, const std::string& told_by) {
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.back()))) text.pop_back();
  const bool good = text.starts_with("ckpt_") && text.size() <= 256 &&
                    std::all_of(text.begin(), text.end(),
                                [](unsigned char c) { return std::isalnum(c) || c == '_'; });
  if (good) return text;
  return BadField("token", fmt::format("{} holds no token: one is ckpt_ID_SECRET, as ckptctl token "
                                       "create prints it",
                                       told_by));
}

absl::StatusOr<std::string> ReadToken(const std::string& path) {
  ASSIGN_OR_RETURN(std::string text, ReadNamedFile("token_file", path));
  return CheckToken(std::move(text), Printable(path, kPathShown));
}

bool IsSame(const struct stat& a, const struct stat& b) {
  return a.st_dev == b.st_dev && a.st_ino == b.st_ino && a.st_size == b.st_size &&
         a.st_mtim.tv_sec == b.st_mtim.tv_sec && a.st_mtim.tv_nsec == b.st_mtim.tv_nsec;
}

}  // namespace

absl::StatusOr<std::string> ReadNamedFile(const char* field, const std::string& path) {
  errno = 0;
  std::ifstream file(path, std::ios::binary);
  std::ostringstream read;
  read << file.rdbuf();
  if (file && read && !read.str().empty()) return read.str();
  return BadField(field, fmt::format("{} {} cannot be read: {}", field, Printable(path, kPathShown),
                                     errno != 0 ? std::strerror(errno) : "it is empty"));
}

absl::StatusOr<std::unique_ptr<TokenSource>> TokenSource::Fixed(const std::string& token,
                                                                const std::string& told_by) {
  std::unique_ptr<TokenSource> source(new TokenSource);
  if (token.empty()) return source;
  absl::MutexLock lock(&source->mutex_);
  ASSIGN_OR_RETURN(source->token_, CheckToken(token, told_by));
  return source;
}

absl::StatusOr<std::unique_ptr<TokenSource>> TokenSource::File(std::string path) {
  std::unique_ptr<TokenSource> source(new TokenSource);
  absl::MutexLock lock(&source->mutex_);
  // Before the bytes: a change in between is seen at the next call.
  stat(path.c_str(), &source->seen_);
  ASSIGN_OR_RETURN(source->token_, ReadToken(path));
  source->path_ = std::move(path);
  return source;
}

std::string TokenSource::Current() {
  absl::MutexLock lock(&mutex_);
  if (path_.empty()) return token_;
  struct stat now = {};
  if (stat(path_.c_str(), &now) != 0 || IsSame(now, seen_)) return token_;
  seen_ = now;
  if (auto token = ReadToken(path_); token.ok()) token_ = *std::move(token);
  return token_;
}

}  // namespace ckpt
