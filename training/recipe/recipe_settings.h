// What of a recipe's text its results depend on.
#ifndef LLAVA_TRAINING_RECIPE_RECIPE_SETTINGS_H_
#define LLAVA_TRAINING_RECIPE_RECIPE_SETTINGS_H_

#include <yaml-cpp/yaml.h>

#include <string>
#include <vector>

#include "training/recipe/recipe.h"

namespace llava::training {

// A copy without what changes no result, so that a run may go on with another number of threads.
YAML::Node WithoutIdleKeys(const YAML::Node& root);

// Of each stage: chained, so that a later stage may change while an earlier one runs.
std::vector<std::string> StageDigests(const YAML::Node& root);

// All that stages or publishing depend on, in order.
std::vector<RecipeSetting> SettingsOf(const YAML::Node& root);

}  // namespace llava::training

#endif  // LLAVA_TRAINING_RECIPE_RECIPE_SETTINGS_H_
