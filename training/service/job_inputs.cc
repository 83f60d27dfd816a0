#include "training/service/job_inputs.h"

#include <algorithm>
#include <boost/json.hpp>
#include <cstdint>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "training/recipe/recipe.h"

namespace llava::training {
namespace {

namespace json = boost::json;

json::array ToJson(const std::vector<Shard>& shards) {
  json::array list;
  for (const Shard& shard : shards) {
    list.push_back(json::object{{"path", shard.path},
                                {"sha256", shard.sha256},
                                {"rows", shard.rows},
                                {"new", shard.is_new}});
  }
  return list;
}

json::array ToJson(const std::vector<SetAside>& set_aside) {
  json::array list;
  for (const auto& [path, why] : set_aside) {
    list.push_back(json::object{{"path", path}, {"why", why}});
  }
  return list;
}

// JSON strings are YAML.
std::string Quoted(const std::string& text) { return json::serialize(json::value(text)); }

std::string PathList(const std::vector<Shard>& shards) {
  const auto add = [](std::string* out, const Shard& shard) {
    absl::StrAppend(out, Quoted(shard.path));
  };
  return absl::StrCat("[", absl::StrJoin(shards, ", ", add), "]");
}

std::string MixtureList(const std::vector<Shard>& shards, const Mix& mix) {
  double fresh = 0.0;
  double old = 0.0;
  for (const Shard& shard : shards) {
    (shard.is_new ? fresh : old) += static_cast<double>(shard.rows);
  }
  double weight = 1.0;
  if (mix.wanted() && fresh > 0.0 && old > 0.0) {
    // A few old rows beside very many new ones come as often as a recipe allows, and not more.
    weight = std::clamp(fresh / mix.fresh * mix.old / old, kLeastWeight, kMostWeight);
  }
  const auto add = [weight](std::string* out, const Shard& shard) {
    absl::StrAppend(out, "{file: ", Quoted(shard.path), ", weight: ", shard.is_new ? 1.0 : weight,
                    "}");
  };
  return absl::StrCat("[", absl::StrJoin(shards, ", ", add), "]");
}

}  // namespace

std::string JobInputsJson(const JobInputs& inputs) {
  return json::serialize(json::object{{"shards", ToJson(inputs.shards)},
                                      {"recipe", inputs.recipe},
                                      {"base", inputs.base},
                                      {"base_version", inputs.base_version},
                                      {"captured", inputs.captured},
                                      {"captured_changed", inputs.captured_changed},
                                      {"set_aside", ToJson(inputs.set_aside)}});
}

absl::StatusOr<JobInputs> ParseJobInputs(const std::string& text) {
  JobInputs inputs;
  if (text.empty()) return inputs;
  try {
    // A path may be of any bytes.
    json::parse_options options;
    options.allow_invalid_utf8 = true;
    const json::value object = json::parse(text, {}, options);
    for (const json::value& item : object.at("shards").as_array()) {
      inputs.shards.push_back({json::value_to<std::string>(item.at("path")),
                               json::value_to<std::string>(item.at("sha256")),
                               json::value_to<std::int64_t>(item.at("rows")),
                               item.at("new").as_bool()});
    }
    inputs.recipe = json::value_to<std::string>(object.at("recipe"));
    inputs.base = json::value_to<std::string>(object.at("base"));
    inputs.base_version = json::value_to<std::string>(object.at("base_version"));
    // Jobs of earlier versions say nothing of captured rows, nor of what was set aside.
    if (object.as_object().contains("captured")) {
      inputs.captured = json::value_to<std::int64_t>(object.at("captured"));
      inputs.captured_changed = json::value_to<std::int64_t>(object.at("captured_changed"));
    }
    if (!object.as_object().contains("set_aside")) return inputs;
    for (const json::value& item : object.at("set_aside").as_array()) {
      inputs.set_aside.push_back({json::value_to<std::string>(item.at("path")),
                                  json::value_to<std::string>(item.at("why"))});
    }
  } catch (const std::exception& e) {
    return absl::DataLossError(absl::StrCat("a job's inputs are '", text, "': ", e.what()));
  }
  return inputs;
}

absl::StatusOr<std::string> RenderRecipe(const JobInputs& inputs, const Mix& mix,
                                         const std::optional<Shard>& generated) {
  if (absl::StrContains(inputs.recipe, "${BASE}") && inputs.base.empty()) {
    return absl::FailedPreconditionError(
        "the recipe begins with ${BASE}, and there is no live version in `published`");
  }
  std::vector<Shard> shards = inputs.shards;
  if (generated) shards.push_back(*generated);
  return absl::StrReplaceAll(inputs.recipe, {{"${SHARDS}", PathList(shards)},
                                             {"${MIXTURE}", MixtureList(shards, mix)},
                                             {"${BASE}", Quoted(inputs.base)}});
}

}  // namespace llava::training
