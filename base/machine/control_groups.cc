#include "base/machine/control_groups.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/file.h"

namespace llava {
namespace {

constexpr std::size_t kMaxBytes = std::size_t{1} << 20;

// `hierarchy` + `group` and what lies around it: "/a/b", "/a", "".
std::vector<std::string> UpFrom(const std::string& hierarchy, std::string group) {
  if (group == "/") group.clear();
  std::vector<std::string> folders = {hierarchy + group};
  while (!group.empty()) {
    group.resize(group.rfind('/') == std::string::npos ? 0 : group.rfind('/'));
    folders.push_back(hierarchy + group);
  }
  return folders;
}

}  // namespace

ControlGroups ControlGroupsOf(std::string_view controller, const std::string& root) {
  ControlGroups groups;
  const auto text = ReadFile(root + "/proc/self/cgroup", kMaxBytes);
  if (!text.ok()) return groups;
  const std::string name(controller);
  // Lines "0::/group" of version 2 and "7:cpu,cpuacct:/group" of version 1.
  for (const absl::string_view line : absl::StrSplit(*text, '\n', absl::SkipEmpty())) {
    const std::vector<std::string> parts = absl::StrSplit(line, absl::MaxSplits(':', 2));
    if (parts.size() != 3) continue;
    const std::vector<std::string> controllers = absl::StrSplit(parts[1], ',');
    if (parts[0] == "0") {
      groups.version2 = UpFrom(root + "/sys/fs/cgroup", parts[2]);
    } else if (std::find(controllers.begin(), controllers.end(), name) != controllers.end()) {
      groups.version1 = UpFrom(absl::StrCat(root, "/sys/fs/cgroup/", name), parts[2]);
    }
  }
  return groups;
}

}  // namespace llava
