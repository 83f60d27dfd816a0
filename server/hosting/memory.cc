#include "server/hosting/memory.h"

#include <algorithm>
#include <fstream>
#include <limits>
#include <optional>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace llava::server {
namespace {

constexpr std::int64_t kUnknown = std::numeric_limits<std::int64_t>::max();
constexpr std::int64_t kKiB = 1024;

// The number after `key` in a file of lines "key number ..."; the first word of the file when `key`
// is empty. Nothing for a word such as "max".
std::optional<std::int64_t> Number(const std::string& path, const std::string& key) {
  std::ifstream file(path);
  std::string word;
  while (file >> word) {
    if (!key.empty() && word != key) continue;
    if (!key.empty() && !(file >> word)) break;
    std::int64_t number = 0;
    if (absl::SimpleAtoi(word, &number)) return number;
    return std::nullopt;
  }
  return std::nullopt;
}

// What one control group leaves; kUnknown without a limit.
std::int64_t Left(const std::string& folder, const char* limit, const char* usage,
                  const char* reclaimable) {
  const auto most = Number(absl::StrCat(folder, "/", limit), "");
  const auto used = Number(absl::StrCat(folder, "/", usage), "");
  if (!most || !used) return kUnknown;
  const std::int64_t cached = Number(absl::StrCat(folder, "/memory.stat"), reclaimable).value_or(0);
  return std::max<std::int64_t>(0, *most - std::max<std::int64_t>(0, *used - cached));
}

// The group `path` and those around it, up to the root of the hierarchy.
template <typename F>
std::int64_t LeastOnTheWayUp(std::string path, F left_in) {
  std::int64_t least = left_in(path);
  while (!path.empty()) {
    path.resize(path.rfind('/') == std::string::npos ? 0 : path.rfind('/'));
    least = std::min(least, left_in(path));
  }
  return least;
}

std::int64_t LeftByGroups(const std::string& root) {
  std::int64_t least = kUnknown;
  std::ifstream file(root + "/proc/self/cgroup");
  for (std::string line; std::getline(file, line);) {
    const std::vector<std::string> parts = absl::StrSplit(line, absl::MaxSplits(':', 2));
    if (parts.size() != 3) continue;
    const std::string path = parts[2] == "/" ? "" : parts[2];
    if (parts[0] == "0") {
      least = std::min(least, LeastOnTheWayUp(path, [&](const std::string& group) {
                         return Left(root + "/sys/fs/cgroup" + group, "memory.max",
                                     "memory.current", "inactive_file");
                       }));
    } else if (absl::StrContains(absl::StrCat(",", parts[1], ","), ",memory,")) {
      least =
          std::min(least, LeastOnTheWayUp(path, [&](const std::string& group) {
                     return Left(root + "/sys/fs/cgroup/memory" + group, "memory.limit_in_bytes",
                                 "memory.usage_in_bytes", "total_inactive_file");
                   }));
    }
  }
  return least;
}

}  // namespace

std::int64_t AvailableMemory(const std::string& root) {
  const auto machine = Number(root + "/proc/meminfo", "MemAvailable:");
  return std::min(machine ? *machine * kKiB : kUnknown, LeftByGroups(root));
}

}  // namespace llava::server
