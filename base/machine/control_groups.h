// The control groups that this process is in, as folders of /sys/fs/cgroup.
#ifndef LLAVA_BASE_MACHINE_CONTROL_GROUPS_H_
#define LLAVA_BASE_MACHINE_CONTROL_GROUPS_H_

#include <string>
#include <string_view>
#include <vector>

namespace llava {

// From the process' own group up to the root of its hierarchy. A limit of any of them binds, and in
// a container only the root may be there: so look into all, and pass over what is missing.
struct ControlGroups {
  std::vector<std::string> version2;
  std::vector<std::string> version1;  // of one controller
};

// `controller` names that of version 1 ("cpu", "memory"). `root` stands before /proc and /sys, for
// tests. Empty where the system has no control groups.
ControlGroups ControlGroupsOf(std::string_view controller, const std::string& root = "");

}  // namespace llava

#endif  // LLAVA_BASE_MACHINE_CONTROL_GROUPS_H_
