// Any text as a recipe: a mistake that names the file, or a recipe whose digests are whole.
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <fstream>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "training/recipe/recipe.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  namespace training = llava::training;
  static const std::string file = absl::StrCat("/tmp/recipe_fuzz.", getpid(), ".yaml");
  std::ofstream(file).write(reinterpret_cast<const char*>(data),
                            static_cast<std::streamsize>(size));
  const auto recipe = training::ReadRecipe(file);
  unlink(file.c_str());
  if (!recipe.ok()) {
    LLAVA_CHECK(absl::StartsWith(recipe.status().message(), file));
    return 0;
  }
  LLAVA_CHECK(!recipe->stages.empty());
  LLAVA_CHECK_EQ(recipe->stage_digests.size(), recipe->stages.size());
  for (std::size_t i = 0; i <= recipe->stages.size(); ++i) {
    LLAVA_CHECK_EQ(training::RecipeDigest(*recipe, static_cast<std::int64_t>(i)).empty(), i == 0);
  }
  return 0;
}
