// Includes go one way. Reads the #include lines of the product's sources and
// fails on every arrow that is not drawn here:
//
//   daemon:  main -> rpc -> store -> {chunks, catalog, retention};
//            {chunks, catalog} -> os
//            rpc -> access -> catalog
//            main -> monitor -> store; {rpc, store, os, monitor} -> metrics
//   client:  trainer -> client -> proto
//   everything may use proto; daemon and client never include each other.
#include <filesystem>
#include <fstream>
#include <map>
#include <regex>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace {

namespace fs = std::filesystem;
using Names = std::set<std::string>;

// Which layers a layer may include, besides itself.
const std::map<std::string, Names> kArrows = {
    {"proto", {}},
    // The program builds the objects of every layer.
    {"daemon",
     {"daemon/rpc", "daemon/access", "daemon/store", "daemon/chunks", "daemon/catalog",
      "daemon/retention", "daemon/os", "daemon/metrics", "daemon/monitor", "proto"}},
    {"daemon/rpc", {"daemon/access", "daemon/store", "daemon/metrics", "proto"}},
    {"daemon/access", {"daemon/catalog", "daemon/os", "proto"}},
    {"daemon/monitor", {"daemon/store", "daemon/os", "daemon/metrics", "proto"}},
    {"daemon/store",
     {"daemon/chunks", "daemon/catalog", "daemon/retention", "daemon/os", "daemon/metrics",
      "proto"}},
    {"daemon/chunks", {"daemon/os", "proto"}},
    {"daemon/catalog", {"daemon/os", "proto"}},
    {"daemon/retention", {"proto"}},
    {"daemon/os", {"daemon/metrics", "proto"}},
    // Counts for whoever links it; what shows the counts is none of their business.
    {"daemon/metrics", {"proto"}},
    {"client", {"proto"}},
    {"client/ckptctl", {"client", "proto"}},
    {"client/libtorch", {"client", "proto"}},
    {"trainer", {"client", "client/libtorch", "proto"}},
};

// Arrows of single headers.
const std::map<std::string, Names> kExceptions = {
    // Where a chunk lies is the chunk store's word and the catalog's column.
    {"daemon/catalog", {"daemon/chunks/chunk_store.h"}},
};

// Headers of a kind, and the only layers, or single files, that may include them.
struct Guard {
  const char* what;
  std::regex headers;
  Names layers;
};
const std::vector<Guard>& Guards() {
  static const std::vector<Guard> guards = {
      {"generated messages",
       std::regex("(ckpt/v1|google/rpc)/.*"),
       {"proto", "daemon/rpc", "daemon/catalog", "client", "client/ckptctl", "client/libtorch"}},
      {"LibTorch", std::regex("(torch|ATen|c10)/.*"), {"client/libtorch", "trainer"}},
      {"SQLite", std::regex("sqlite3.*"), {"daemon/catalog"}},
      {"OpenSSL", std::regex("openssl/.*"), {"daemon/access"}},
      {"prometheus-cpp and its HTTP server",
       std::regex("prometheus/.*|civetweb\\.h|CivetServer\\.h"),
       {"daemon/monitor"}},
      {"system calls",
       std::regex("(fcntl|unistd|liburing)\\.h|sys/.*"),
       // Training and daemon give way in the same words.
       {"daemon/os", "daemon", "client", "client/ckptctl", "client/libtorch", "trainer",
        "proto/priority.cc"}},
  };
  return guards;
}

bool IsUnder(const std::string& path, const std::string& folder) {
  return path.rfind(folder + "/", 0) == 0;
}

// The layer of a file of the product: the nearest folder above it that has
// arrows. Empty: none of ours, or a new folder of the daemon; being daemon/'s
// own is the program's privilege.
std::string LayerOf(const std::string& path) {
  const std::string own = fs::path(path).parent_path().generic_string();
  for (fs::path folder = own; !folder.empty(); folder = folder.parent_path()) {
    const std::string layer = folder.generic_string();
    if (kArrows.count(layer) != 0) return layer == "daemon" && own != layer ? "" : layer;
  }
  return "";
}

bool IsOurs(const std::string& header) {
  return IsUnder(header, "proto") || IsUnder(header, "daemon") || IsUnder(header, "client") ||
         IsUnder(header, "trainer");
}

std::vector<std::string> IncludesOf(const std::string& source) {
  static const std::regex include("^\\s*#\\s*include\\s*[<\"]([^>\"]+)[>\"]");
  std::vector<std::string> headers;
  std::istringstream in(source);
  std::smatch match;
  for (std::string line; std::getline(in, line);) {
    if (std::regex_search(line, match, include)) headers.push_back(match[1]);
  }
  return headers;
}

// What is wrong with `path` (relative to the root) including `header`; empty: nothing.
std::string WhatIsWrong(const std::string& path, const std::string& header) {
  const std::string from = LayerOf(path);
  if (from.empty()) return "lies in no layer: draw its arrows in tests/layering";
  if (header.find("..") != std::string::npos) return "includes are written from the root";
  for (const Guard& guard : Guards()) {
    if (std::regex_match(header, guard.headers) && guard.layers.count(from) == 0 &&
        guard.layers.count(path) == 0) {
      return fmt::format("{} may not be included in {}", guard.what, from);
    }
  }
  if (IsUnder(header, "tests")) return "the product may not include its tests";
  if (!IsOurs(header)) return "";
  const std::string to = LayerOf(header);
  if (to == from || kArrows.at(from).count(to) != 0) return "";
  const auto exceptions = kExceptions.find(from);
  if (exceptions != kExceptions.end() && exceptions->second.count(header) != 0) return "";
  return fmt::format("{} may not include {}", from, to.empty() ? header : to);
}

std::vector<std::string> Complaints(const std::string& path, const std::string& source) {
  std::vector<std::string> complaints;
  for (const std::string& header : IncludesOf(source)) {
    const std::string wrong = WhatIsWrong(path, header);
    if (!wrong.empty()) {
      complaints.push_back(fmt::format("{}: #include of {}: {}", path, header, wrong));
    }
  }
  return complaints;
}

TEST(Layering, IncludesGoOneWay) {
  const fs::path root = CKPT_SOURCE_DIR;
  std::vector<std::string> complaints;
  std::map<std::string, int> files;
  for (const char* folder : {"proto", "daemon", "client", "trainer"}) {
    for (const auto& file : fs::recursive_directory_iterator(root / folder)) {
      const std::string extension = file.path().extension();
      if (!file.is_regular_file() || (extension != ".cc" && extension != ".h")) continue;
      std::ifstream in(file.path());
      std::stringstream source;
      source << in.rdbuf();
      const std::string path = fs::relative(file.path(), root).generic_string();
      ++files[LayerOf(path)];
      for (std::string& complaint : Complaints(path, source.str())) {
        complaints.push_back(std::move(complaint));
      }
    }
  }
  EXPECT_THAT(complaints, testing::IsEmpty());
  for (const char* layer : {"proto", "daemon/catalog", "daemon/chunks", "daemon/retention"}) {
    EXPECT_GT(files[layer], 0) << "no sources were found in " << layer;
  }
}

TEST(Layering, CheckerSeesBadIncludes) {
  struct Case {
    const char* path;
    const char* include;
    bool allowed;
  };
  for (const Case& c : {
           Case{"daemon/main.cc", "\"daemon/rpc/server.h\"", true},
           Case{"daemon/main.cc", "\"daemon/chunks/packs.h\"", true},
           Case{"daemon/main.cc", "<unistd.h>", true},
           Case{"daemon/main.cc", "<sqlite3.h>", false},
           Case{"daemon/main.cc", "\"client/client.h\"", false},
           Case{"daemon/main.cc", "\"tests/testing/clock.h\"", false},
           Case{"daemon/rpc/push.cc", "\"daemon/store/store.h\"", true},
           Case{"daemon/rpc/push.cc", "\"daemon/rpc/status.h\"", true},
           Case{"daemon/rpc/push.cc", "\"ckpt/v1/service.grpc.pb.h\"", true},
           Case{"daemon/rpc/push.cc", "\"daemon/catalog/catalog.h\"", false},
           Case{"daemon/rpc/guard.cc", "\"daemon/access/tokens.h\"", true},
           Case{"daemon/rpc/guard.cc", "<openssl/hmac.h>", false},
           Case{"daemon/access/tokens.cc", "\"daemon/catalog/tokens.h\"", true},
           Case{"daemon/access/secret.cc", "<openssl/hmac.h>", true},
           Case{"daemon/access/tokens.cc", "\"daemon/store/store.h\"", false},
           Case{"daemon/access/tokens.cc", "\"daemon/rpc/guard.h\"", false},
           Case{"daemon/store/store.cc", "\"daemon/access/tokens.h\"", false},
           Case{"daemon/rpc/push.cc", "\"daemon/main.h\"", false},
           Case{"daemon/rpc/push.cc", "<sys/stat.h>", false},
           Case{"daemon/store/store.cc", "\"daemon/catalog/runs.h\"", true},
           Case{"daemon/store/store.cc", "\"daemon/os/clock.h\"", true},
           Case{"daemon/store/store.cc", "\"daemon/rpc/status.h\"", false},
           Case{"daemon/store/store.cc", "\"ckpt/v1/types.pb.h\"", false},
           Case{"daemon/catalog/runs.cc", "<sqlite3.h>", true},
           Case{"daemon/catalog/runs.cc", "\"daemon/chunks/chunk_store.h\"", true},
           Case{"daemon/catalog/journal.cc", "\"daemon/os/file_system.h\"", true},
           Case{"daemon/catalog/runs.cc", "\"daemon/chunks/layout.h\"", false},
           Case{"daemon/catalog/runs.cc", "\"daemon/retention/policy.h\"", false},
           Case{"daemon/chunks/writer.cc", "\"daemon/os/env.h\"", true},
           Case{"daemon/chunks/writer.cc", "\"daemon/catalog/chunks.h\"", false},
           Case{"daemon/chunks/writer.cc", "<fcntl.h>", false},
           Case{"daemon/chunks/writer.cc", "<sqlite3.h>", false},
           Case{"daemon/os/posix.cc", "<sys/uio.h>", true},
           Case{"daemon/os/posix.cc", "\"daemon/chunks/layout.h\"", false},
           Case{"daemon/store/store.cc", "\"daemon/metrics/metrics.h\"", true},
           Case{"daemon/store/store.cc", "\"daemon/monitor/families.h\"", false},
           Case{"daemon/store/store.cc", "<prometheus/counter.h>", false},
           Case{"daemon/metrics/metrics.cc", "\"daemon/store/store.h\"", false},
           Case{"daemon/metrics/metrics.cc", "<prometheus/counter.h>", false},
           Case{"daemon/monitor/families.cc", "<prometheus/metric_family.h>", true},
           Case{"daemon/monitor/http_server.cc", "<civetweb.h>", true},
           Case{"daemon/monitor/monitor.cc", "\"daemon/rpc/service.h\"", false},
           Case{"daemon/retention/policy.cc", "\"proto/model.h\"", true},
           Case{"daemon/retention/policy.cc", "\"daemon/os/clock.h\"", false},
           Case{"daemon/retention/policy.cc", "\"daemon/catalog/runs.h\"", false},
           Case{"daemon/new/thing.cc", "\"daemon/new/thing.h\"", false},
           Case{"daemon/main.cc", "\"daemon/new/thing.h\"", false},
           Case{"proto/names.cc", "\"ckpt/v1/types.pb.h\"", true},
           Case{"proto/names.cc", "\"daemon/os/clock.h\"", false},
           Case{"client/client.cc", "\"daemon/os/clock.h\"", false},
           Case{"client/client.cc", "\"client/ckptctl/verbs.h\"", false},
           Case{"client/client.cc", "<torch/torch.h>", false},
           Case{"client/ckptctl/list.cc", "\"client/client.h\"", true},
           Case{"client/ckptctl/files/pt.cc", "\"client/ckptctl/verbs.h\"", true},
           Case{"client/ckptctl/files/pt.cc", "<torch/torch.h>", false},
           Case{"client/retry.cc", "\"client/ckptctl/files/pt.h\"", false},
           Case{"client/ckptctl/list.cc", "\"client/libtorch/adapter.h\"", false},
           Case{"client/ckptctl/list.cc", "<torch/torch.h>", false},
           Case{"client/libtorch/adapter.cc", "<torch/torch.h>", true},
           Case{"client/libtorch/adapter.cc", "\"trainer/model.h\"", false},
           Case{"trainer/main.cc", "\"client/libtorch/adapter.h\"", true},
           Case{"trainer/main.cc", "<ATen/ATen.h>", true},
           Case{"trainer/main.cc", "\"client/ckptctl/verbs.h\"", false},
           Case{"trainer/main.cc", "\"daemon/store/store.h\"", false},
           Case{"trainer/main.cc", "\"ckpt/v1/types.pb.h\"", false},
           Case{"trainer/main.cc", "\"../daemon/store/store.h\"", false},
           Case{"elsewhere/main.cc", "<vector>", false},
       }) {
    const std::string source = fmt::format("// text\n  #  include {}  // why\n", c.include);
    EXPECT_EQ(Complaints(c.path, source).empty(), c.allowed)
        << c.path << " including " << c.include;
  }
}

}  // namespace
