#include "training/generate/generate_plan.h"

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <filesystem>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "base/strict_yaml.h"

namespace llava::training {
namespace {

namespace json = boost::json;

void ReadSource(StrictYaml& yaml, GenerateSource* source) {
  yaml.Optional("contexts", &source->contexts);
  yaml.Optional("pictures", &source->pictures);
  yaml.Section("coco", [&](StrictYaml& coco) {
    coco.Optional("captions", &source->captions);
    coco.Require("captions");
    coco.Optional("instances", &source->instances);
    coco.Require("instances");
  });
  yaml.Section("scenes", [&](StrictYaml& scenes) {
    scenes.Optional("count", &source->scenes);
    scenes.Optional("seed", &source->scenes_seed);
    if (source->scenes < 1 || source->scenes_seed < 0) {
      scenes.Fail("count", "expected a count of at least 1 and a seed of at least 0");
    }
  });
  const int given = (source->contexts.empty() ? 0 : 1) + (source->captions.empty() ? 0 : 1) +
                    (source->pictures.empty() ? 0 : 1) + (source->scenes > 0 ? 1 : 0);
  if (given != 1) yaml.Fail("contexts", "expected one of contexts, coco, pictures and scenes");
}

void ReadKind(StrictYaml& yaml, const std::string& name, GeneratePlan* plan) {
  GenerateKind kind;
  kind.name = name;
  kind.boxes = name != "conversation";
  yaml.Optional("images", &kind.images);
  yaml.Require("images");
  if (!(kind.images >= 0 && kind.images <= 1)) yaml.Fail("images", "expected a share from 0 to 1");
  yaml.Optional("few_shot", &kind.few_shot);
  yaml.Require("few_shot");
  yaml.Optional("boxes", &kind.boxes);
  yaml.Optional("temperature", &kind.temperature);
  yaml.Optional("max_tokens", &kind.max_tokens);
  if (kind.max_tokens < 1) yaml.Fail("max_tokens", "expected at least 1");
  plan->kinds.push_back(std::move(kind));
}

void ReadAccept(StrictYaml& yaml, GeneratePlan* plan) {
  AcceptOptions& accept = plan->accept;
  yaml.Optional("min_turns", &accept.min_turns);
  yaml.Optional("max_turns", &accept.max_turns);
  yaml.Optional("min_answer_chars", &accept.min_answer_chars);
  yaml.Optional("max_answer_chars", &accept.max_answer_chars);
  yaml.Optional("forbid", &accept.forbid);
  yaml.Optional("english", &accept.english);
  yaml.Optional("near_duplicate", &plan->near_duplicate);
  if (!(plan->near_duplicate > 0.5 && plan->near_duplicate <= 1)) {
    yaml.Fail("near_duplicate", "expected a share above 0.5, up to 1");
  }
}

// A path of the plan, seen from its folder.
void Resolve(const std::filesystem::path& folder, std::string* path) {
  if (!path->empty()) *path = (folder / *path).lexically_normal().string();
}

}  // namespace

absl::StatusOr<GeneratePlan> ReadGeneratePlan(const std::string& file) {
  GeneratePlan plan;
  ASSIGN_OR_RETURN(StrictYaml yaml, StrictYaml::Load(file));
  yaml.Optional("name", &plan.name);
  yaml.Optional("output", &plan.output);
  yaml.Require("output");
  yaml.Require("source");
  yaml.Section("source", [&](StrictYaml& source) { ReadSource(source, &plan.source); });
  yaml.Require("endpoint");
  yaml.Section("endpoint", [&](StrictYaml& endpoint) { ReadEndpoint(endpoint, &plan.endpoint); });
  yaml.Section("budget", [&](StrictYaml& budget) { ReadBudget(budget, &plan.endpoint); });
  yaml.Require("kinds");
  yaml.Section("kinds", [&](StrictYaml& kinds) {
    for (const char* name : {"conversation", "detail", "reasoning"}) {
      kinds.Section(name, [&](StrictYaml& kind) { ReadKind(kind, name, &plan); });
    }
  });
  yaml.Section("accept", [&](StrictYaml& accept) { ReadAccept(accept, &plan); });
  yaml.Optional("held_out", &plan.held_out);
  if (!(plan.held_out >= 0 && plan.held_out < 1)) yaml.Fail("held_out", "expected 0 to below 1");
  yaml.Optional("seed", &plan.seed);
  yaml.Optional("image_prefix", &plan.image_prefix);
  RETURN_IF_ERROR(yaml.Finish());
  const std::filesystem::path folder = std::filesystem::path(file).parent_path();
  for (std::string* path : {&plan.output, &plan.source.contexts, &plan.source.captions,
                            &plan.source.instances, &plan.source.pictures}) {
    Resolve(folder, path);
  }
  for (GenerateKind& kind : plan.kinds) Resolve(folder, &kind.few_shot);
  return plan;
}

std::string PlanIdentity(const GeneratePlan& plan) {
  json::array kinds;
  for (const GenerateKind& kind : plan.kinds) {
    kinds.push_back(json::array{json::string(kind.name), kind.images, json::string(kind.few_shot),
                                kind.boxes, kind.temperature, kind.max_tokens});
  }
  json::array source{json::string(plan.source.contexts), json::string(plan.source.captions),
                     json::string(plan.source.instances), plan.source.scenes,
                     plan.source.scenes_seed};
  // Folders that were begun before there were such plans go on.
  if (!plan.source.pictures.empty()) source.push_back(json::string(plan.source.pictures));
  const AcceptOptions& accept = plan.accept;
  json::array forbid;
  for (const std::string& word : accept.forbid) forbid.push_back(json::string(word));
  return json::serialize(
      json::object{{"source", std::move(source)},
                   {"model", plan.endpoint.model},
                   {"kinds", std::move(kinds)},
                   {"accept", json::array{accept.min_turns, accept.max_turns,
                                          accept.min_answer_chars, accept.max_answer_chars,
                                          std::move(forbid), accept.english, plan.near_duplicate}},
                   {"held_out", plan.held_out},
                   {"seed", plan.seed},
                   {"image_prefix", plan.image_prefix}});
}

}  // namespace llava::training
