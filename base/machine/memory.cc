#include "base/machine/memory.h"

#include <algorithm>
#include <fstream>
#include <limits>
#include <optional>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/machine/control_groups.h"

namespace llava {
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

}  // namespace

std::int64_t AvailableMemory(const std::string& root) {
  const auto machine = Number(root + "/proc/meminfo", "MemAvailable:");
  std::int64_t left = machine ? *machine * kKiB : kUnknown;
  const ControlGroups groups = ControlGroupsOf("memory", root);
  for (const std::string& group : groups.version2) {
    left = std::min(left, Left(group, "memory.max", "memory.current", "inactive_file"));
  }
  for (const std::string& group : groups.version1) {
    left = std::min(
        left, Left(group, "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"));
  }
  return left;
}

}  // namespace llava
