// What `--version` says: enough to build the same program again.
#ifndef LLAVA_BASE_COMMAND_LINE_VERSION_H_
#define LLAVA_BASE_COMMAND_LINE_VERSION_H_

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace llava {

// "0.2.0", as `project()` of the top CMakeLists.txt says.
std::string_view Version();

// The commit that was built, as `git describe` says it: with "-dirty" where files differed from it,
// "unknown" where it was not built in a git working tree.
std::string_view Commit();

// Version, commit and compiler, then what is given: "LibTorch", "2.5.1". A line each.
std::string VersionText(const std::vector<std::pair<std::string, std::string>>& more = {});

}  // namespace llava

#endif  // LLAVA_BASE_COMMAND_LINE_VERSION_H_
