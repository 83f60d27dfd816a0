#include "training/recipe/recipe_settings.h"

#include <cstddef>
#include <cstdint>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/digest.h"

namespace llava::training {
namespace {

// Keys of a data section that change nothing of what is learnt.
constexpr const char* kIdleDataKeys[] = {"workers", "max_bad_share"};

void AddSettings(const YAML::Node& node, const std::string& name, std::int64_t stage,
                 std::vector<RecipeSetting>* settings) {
  if (!node) return;
  if (node.IsMap()) {
    for (const auto& entry : node) {
      AddSettings(entry.second, absl::StrCat(name, ".", entry.first.Scalar()), stage, settings);
    }
  } else if (node.IsSequence()) {
    for (std::size_t i = 0; i < node.size(); ++i) {
      AddSettings(node[i], absl::StrCat(name, "[", i, "]"), stage, settings);
    }
  } else {
    settings->push_back({name, node.IsNull() ? "" : node.Scalar(), stage});
  }
}

}  // namespace

YAML::Node WithoutIdleKeys(const YAML::Node& root) {
  YAML::Node copy = YAML::Clone(root);
  std::vector<YAML::Node> sections = {copy["data"]};
  for (const YAML::Node& stage : copy["stages"]) sections.push_back(stage["data"]);
  for (YAML::Node& section : sections) {
    for (const char* key : kIdleDataKeys) {
      if (section && section.IsMap()) section.remove(key);
    }
  }
  return copy;
}

std::vector<std::string> StageDigests(const YAML::Node& root) {
  std::string before;
  for (const char* key : {"seed", "precision", "model", "data"}) {
    if (root[key]) absl::StrAppend(&before, key, ": ", YAML::Dump(root[key]), "\n");
  }
  std::vector<std::string> digests;
  for (const YAML::Node& stage : root["stages"]) {
    before = Sha256Of(absl::StrCat(before, "\n", YAML::Dump(stage))).Hex();
    digests.push_back(before);
  }
  return digests;
}

std::vector<RecipeSetting> SettingsOf(const YAML::Node& root) {
  std::vector<RecipeSetting> settings;
  for (const char* key : {"seed", "precision", "model", "data"}) {
    AddSettings(root[key], key, 0, &settings);
  }
  const YAML::Node& stages = root["stages"];
  for (std::size_t i = 0; i < stages.size(); ++i) {
    AddSettings(stages[i], absl::StrCat("stages[", i, "]"), static_cast<std::int64_t>(i),
                &settings);
  }
  for (const char* key : {"evaluate", "publish"}) {
    AddSettings(root[key], key, RecipeSetting::kPublishing, &settings);
  }
  return settings;
}

std::vector<std::pair<std::string, std::string>> FlatRecipe(const Recipe& recipe) {
  std::vector<RecipeSetting> settings;
  for (const auto& entry : YAML::Load(recipe.text)) {
    const std::string key = entry.first.Scalar();
    if (key != "tracking") AddSettings(entry.second, key, 0, &settings);
  }
  std::vector<std::pair<std::string, std::string>> flat;
  for (RecipeSetting& setting : settings) {
    flat.emplace_back(std::move(setting.name), std::move(setting.value));
  }
  return flat;
}

}  // namespace llava::training
