#include "training/run/drawn_scenes.h"

#include <filesystem>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "base/durable_file.h"
#include "base/status_macros.h"
#include "training/data/scenes/write.h"

namespace llava::training {

absl::StatusOr<std::string> DrawScenes(const std::string& output, const ScenesOptions& wanted,
                                       scenes::Split split, int patch) {
  const std::string folder = absl::StrCat(
      output, "/scenes/", split == scenes::Split::kHeldOut ? "held-out-" : "", wanted.level, "-",
      wanted.count, "-", wanted.turns, wanted.conversations ? "-conversations" : "", "-",
      wanted.comparisons, "-", wanted.seed);
  std::error_code error;
  if (std::filesystem::exists(folder, error)) return folder;
  scenes::WriteOptions write;
  write.count = wanted.count;
  write.seed = static_cast<std::uint64_t>(wanted.seed);
  write.level = *scenes::ParseLevel(wanted.level);
  write.split = split;
  write.turns = static_cast<int>(wanted.turns);
  write.comparisons = static_cast<int>(wanted.comparisons);
  write.conversations = wanted.conversations;
  write.patch = patch;
  const std::string unfinished = folder + ".unfinished";
  std::filesystem::remove_all(unfinished, error);
  std::filesystem::create_directories(unfinished, error);
  RETURN_IF_ERROR(scenes::WriteScenes(write, unfinished));
  RETURN_IF_ERROR(RenameFile(unfinished, folder));
  return folder;
}

}  // namespace llava::training
