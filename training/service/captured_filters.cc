#include "training/service/captured_filters.h"

#include <optional>
#include <set>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "training/recipe/recipe.h"
#include "training/service/job_inputs.h"

namespace llava::training {
namespace {

// As a run does: scenes take the place of rows, and labels of patches need none.
bool TakesCaptured(const StageOptions& stage) {
  return !stage.data.captured.dir.empty() && stage.data.scenes.count == 0 &&
         stage.objective == ObjectiveKind::kConversation;
}

}  // namespace

absl::StatusOr<std::vector<CapturedFilter>> CapturedFiltersOf(const std::string& recipe) {
  std::vector<CapturedFilter> filters;
  if (!absl::StrContains(recipe, "captured")) return filters;
  // Which shards and which version it is about changes nothing about what is asked here.
  JobInputs any;
  any.recipe = recipe;
  any.base = "base";
  const Shard shard{kGeneratedRows, "", 0, true};
  ASSIGN_OR_RETURN(const std::string text, RenderRecipe(any, Mix(), shard));
  ASSIGN_OR_RETURN(const Recipe parsed, ParseRecipe(text, "recipe.yaml"));
  std::set<std::string> known;
  for (const StageOptions& stage : parsed.stages) {
    if (!TakesCaptured(stage)) continue;
    const CapturedOptions& captured = stage.data.captured;
    const std::string key =
        absl::StrCat(captured.up, captured.corrected, captured.unrated, " ", captured.dir);
    if (!known.insert(key).second) continue;
    filters.push_back(
        {captured.dir,
         {.up = captured.up, .corrected = captured.corrected, .unrated = captured.unrated}});
  }
  return filters;
}

}  // namespace llava::training
