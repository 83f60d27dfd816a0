#include "base/command_line/version.h"

#include "absl/strings/str_cat.h"
#include "base/command_line/commit.h"

namespace llava {
namespace {

#if defined(__clang__)
constexpr char kCompiler[] = "Clang " __clang_version__;
#else
constexpr char kCompiler[] = "GCC " __VERSION__;
#endif

}  // namespace

std::string_view Version() { return LLAVA_VERSION; }

std::string_view Commit() { return LLAVA_COMMIT; }

std::string VersionText(const std::vector<std::pair<std::string, std::string>>& more) {
  std::string text =
      absl::StrCat(LLAVA_VERSION, "\ncommit    ", LLAVA_COMMIT, "\ncompiler  ", kCompiler);
  for (const auto& [what, value] : more) {
    const std::size_t column = what.size() < 10 ? 10 - what.size() : 1;
    absl::StrAppend(&text, "\n", what, std::string(column, ' '), value);
  }
  return text;
}

}  // namespace llava
