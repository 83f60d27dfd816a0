#include "training/recipe/run_folders.h"

#include <algorithm>
#include <filesystem>
#include <system_error>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace llava::training {
namespace {

namespace fs = std::filesystem;

constexpr char kLater[] = "anew-";

}  // namespace

std::string RunFolderOf(const std::string& output, int number) {
  return number == 1 ? output : absl::StrCat(output, "/", kLater, number);
}

int NewestRun(const std::string& output) {
  int newest = 1;
  std::error_code error;
  for (fs::directory_iterator at(output, error), end; !error && at != end; at.increment(error)) {
    const std::string name = at->path().filename().string();
    int number = 0;
    if (!name.starts_with(kLater)) continue;
    if (!absl::SimpleAtoi(name.substr(sizeof(kLater) - 1), &number)) continue;
    // "anew-007" and "anew-1" are no names that a run gives.
    if (number > 1 && name == absl::StrCat(kLater, number)) newest = std::max(newest, number);
  }
  return newest;
}

}  // namespace llava::training
