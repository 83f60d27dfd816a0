// plan.yaml of `llava-train generate`: pictures, kinds of data, the language model, and what is
// accepted.
#ifndef LLAVA_TRAINING_GENERATE_GENERATE_PLAN_H_
#define LLAVA_TRAINING_GENERATE_GENERATE_PLAN_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "training/endpoint/endpoint_options.h"
#include "training/generate/dialogue.h"

namespace llava::training {

struct GenerateSource {
  std::string contexts{};   // caps_boxes_*.jsonl
  std::string captions{};   // COCO: captions_*.json ...
  std::string instances{};  // ... and instances_*.json
  std::string pictures{};   // a folder; a vision model sees them, and nothing is known of them
  std::int64_t scenes = 0;  // the demo's world, drawn into output/scenes
  std::int64_t scenes_seed = 0;
};

struct GenerateKind {
  std::string name{};      // "conversation", "detail" or "reasoning"
  double images = 0;       // the share of pictures
  std::string few_shot{};  // the folder
  bool boxes = false;
  double temperature = 0.7;
  std::int64_t max_tokens = 1024;
};

struct GeneratePlan {
  std::string name;
  std::string output;  // the folder
  GenerateSource source;
  EndpointOptions endpoint;
  std::vector<GenerateKind> kinds;
  AcceptOptions accept;
  double near_duplicate = 0.9;  // of accepted rows of a kind
  double held_out = 0.02;       // the share of pictures
  std::int64_t seed = 42;
  std::string image_prefix;  // in front of each row's picture
};

// Paths are relative to the plan's folder. INVALID_ARGUMENT with line and key.
absl::StatusOr<GeneratePlan> ReadGeneratePlan(const std::string& file);

// What decides what is asked and accepted, as one line: all but the endpoint's manners and the
// budget.
std::string PlanIdentity(const GeneratePlan& plan);

}  // namespace llava::training

#endif  // LLAVA_TRAINING_GENERATE_GENERATE_PLAN_H_
