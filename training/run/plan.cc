#include "training/run/plan.h"

#include <c10/core/DeviceGuard.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/status_macros.h"
#include "training/optim/adapters.h"
#include "training/optim/state_store.h"
#include "training/optim/trainer.h"
#include "training/run/device.h"
#include "training/run/opened_run.h"
#include "training/run/publish_run.h"
#include "training/run/run.h"

namespace llava::training {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kTriedBatches = 2;  // the first one warms up
constexpr std::int64_t kFloatBytes = 4;
constexpr std::int64_t kServedBytes = 2;  // bf16
constexpr double kGiB = 1024.0 * 1024.0 * 1024.0;

// A folder that goes with its scope.
class Scratch {
 public:
  Scratch() {
    std::error_code error;
    path_ = (fs::temp_directory_path(error) / "llava-plan-XXXXXX").string();
    made_ = !error && ::mkdtemp(path_.data()) != nullptr;
  }
  ~Scratch() {
    std::error_code ignored;
    if (made_) fs::remove_all(path_, ignored);
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  bool made() const { return made_; }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
  bool made_ = false;
};

std::int64_t AllParameters(model::Llava& model) {
  std::int64_t count = 0;
  for (const auto& [name, weight] : model.weights()) count += weight.numel();
  model.decoder().ForEachLinear([&](const std::string&, const model::Linear& layer) {
    if (!layer.weight().defined()) count += layer.in_features() * layer.out_features();  // codes
  });
  return count;
}

std::int64_t AdapterParameters(const StageOptions& stage, model::Llava& model) {
  std::int64_t count = 0;
  model.decoder().ForEachLinear([&](const std::string& name, const model::Linear& layer) {
    if (!IsTarget(name, stage.lora)) return;
    count += stage.lora.rank * (layer.in_features() + layer.out_features());
    if (stage.lora.use_dora) count += layer.out_features();
  });
  return count;
}

std::int64_t TrainedParameters(const StageOptions& stage, model::Llava& model) {
  std::int64_t count = AdapterParameters(stage, model);
  for (const ParameterGroup& group : SelectParameters(stage, model, {})) {
    for (const model::NamedTensor& parameter : group.parameters) count += parameter.tensor.numel();
  }
  return count;
}

std::int64_t WeightBytes(const Recipe& recipe) {
  return recipe.precision == Precision::kFloat32 ? kFloatBytes : kServedBytes;
}

// The largest state of a stage, as the trainer saves it: the weights that the stages up to it have
// changed, and within it what its optimizer and its adapters are. At its end the adapters are
// merged: the state has all matrices that they have reached instead.
std::int64_t StateBytes(const Recipe& recipe, std::size_t stage, model::Llava& model) {
  const std::map<std::string, at::Tensor> weights = model.weights();
  std::set<std::string> changed;
  const auto add_trained = [&](const StageOptions& options) {
    for (const ParameterGroup& group : SelectParameters(options, model, {})) {
      for (const model::NamedTensor& parameter : group.parameters) changed.insert(parameter.name);
    }
  };
  const auto add_merged = [&](const StageOptions& options) {
    for (const auto& [name, weight] : weights) {
      if (IsTarget(name, options.lora)) changed.insert(name);
    }
  };
  const auto bytes_of_changed = [&] {
    std::int64_t count = 0;
    for (const std::string& name : changed) count += weights.at(name).numel();
    return WeightBytes(recipe) * count;
  };
  for (std::size_t i = 0; i < stage; ++i) {
    add_trained(recipe.stages[i]);
    add_merged(recipe.stages[i]);
  }
  const StageOptions& options = recipe.stages[stage];
  add_trained(options);
  const std::int64_t moments = recipe.precision == Precision::kFloat32 ? 2 : 3;  // with masters
  const std::int64_t within = bytes_of_changed() +
                              WeightBytes(recipe) * AdapterParameters(options, model) +
                              moments * kFloatBytes * TrainedParameters(options, model);
  add_merged(options);
  return std::max(within, bytes_of_changed());
}

// What adapters have learned is kept beside the states.
std::int64_t AdapterBytes(const Recipe& recipe, model::Llava& model) {
  std::int64_t count = 0;
  for (const StageOptions& stage : recipe.stages) count += AdapterParameters(stage, model);
  return WeightBytes(recipe) * count;
}

// States at a time: the oldest goes after the newest is complete, and that of the best validation
// stays beside them.
std::int64_t MostStates(const Recipe& recipe) {
  const bool keeps_best =
      std::any_of(recipe.stages.begin(), recipe.stages.end(), [](const StageOptions& stage) {
        return stage.validate.wanted() && stage.validate.keep_best;
      });
  return recipe.keep + (keeps_best ? 2 : 1);
}

std::int64_t FreeBytes(const std::string& folder) {
  fs::path path = fs::absolute(folder).lexically_normal();
  std::error_code error;
  while (!fs::exists(path, error) && path != path.parent_path()) path = path.parent_path();
  return static_cast<std::int64_t>(fs::space(path, error).available);
}

// Two batches of one stage.
absl::StatusOr<StagePlan> TryStage(const Recipe& recipe, const StageOptions& whole,
                                   model::Llava& model, const Clock& clock,
                                   const std::function<void(const std::string&)>& on_message) {
  StageOptions stage = whole;
  const std::int64_t drawn = stage.data.scenes.count;
  const std::int64_t needed = kTriedBatches * stage.batch;
  if (drawn > 0) {
    stage.data.scenes.count = std::min(drawn, needed);
    stage.validate = {};  // its share would be of these few
  }
  Recipe one = recipe;
  one.stages = {stage};
  one.stage_digests.clear();
  one.save_every = kTriedBatches;
  StagePlan plan{.name = stage.name, .trained_parameters = TrainedParameters(stage, model)};
  Ranks alone;
  StateStore nowhere(one.output + "/none", 1, alone);
  TrainerHooks hooks;
  hooks.make_objective = [&](const StageOptions& options, std::int64_t first_step) {
    return MakeObjective(one, model, alone, options, first_step, clock, on_message);
  };
  hooks.on_step = [&plan](const StepReport& report) {
    plan.steps = report.stage_steps;
    plan.tokens_per_step = report.stats.tokens;
    plan.seconds_per_step = report.seconds;
    plan.memory_bytes = report.memory_bytes;
  };
  hooks.stop = [tried = std::int64_t{0}]() mutable { return ++tried >= kTriedBatches; };
  hooks.before_save = [] { return absl::AbortedError("only tried"); };
  Trainer trainer(one, model, nowhere, alone, clock, std::move(hooks));
  const absl::Status status = trainer.Run();
  if (!absl::IsAborted(status)) return status;
  if (drawn > needed && stage.steps == 0) {
    plan.steps = plan.steps * drawn / stage.data.scenes.count;  // about
  }
  return plan;
}

}  // namespace

absl::StatusOr<RunPlan> PlanRun(const Recipe& recipe, const Clock& clock,
                                const std::function<void(const std::string&)>& on_message) {
  const Scratch scratch;
  if (!scratch.made()) {
    return absl::UnavailableError(
        absl::StrCat("a folder such as ", scratch.path(),
                     " cannot be made, expected TMPDIR to name a folder that takes one"));
  }
  Recipe tried = recipe;
  tried.output = scratch.path();
  RETURN_IF_ERROR(TakeCapturedRows(tried, /*is_learned=*/false, on_message));
  UseCapturedRows(&tried);
  ASSIGN_OR_RETURN(const at::Device device, OpenDevice(recipe.device, 0));
  const c10::DeviceGuard guard(device);
  ASSIGN_OR_RETURN(const std::unique_ptr<model::Llava> model, LoadTrainingModel(tried, device));
  RETURN_IF_ERROR(CheckPublishing(tried, model->config().vision.patch_size));
  RunPlan plan;
  plan.parameters = AllParameters(*model);
  std::int64_t state_bytes = 0;
  for (std::size_t i = 0; i < tried.stages.size(); ++i) {
    ASSIGN_OR_RETURN(StagePlan stage_plan,
                     TryStage(tried, tried.stages[i], *model, clock, on_message));
    stage_plan.state_bytes = StateBytes(tried, i, *model);
    state_bytes = std::max(state_bytes, stage_plan.state_bytes);
    plan.stages.push_back(std::move(stage_plan));
  }
  plan.version_bytes = kServedBytes * plan.parameters;
  plan.disk_bytes =
      MostStates(recipe) * state_bytes + AdapterBytes(tried, *model) + plan.version_bytes;
  plan.free_bytes = FreeBytes(recipe.output);
  return plan;
}

std::string ToText(const RunPlan& plan) {
  std::string text = absl::StrFormat("parameters  %d\n", plan.parameters);
  double seconds = 0.0;
  for (const StagePlan& stage : plan.stages) {
    const auto steps = static_cast<double>(stage.steps);
    seconds += steps * stage.seconds_per_step;
    absl::StrAppendFormat(
        &text,
        "stage %s\n  trained     %d parameters\n  steps       %d, about %.0f tokens in all\n"
        "  time        %.3f s a step, about %.2f h in all\n  memory      %.2f GiB in this process\n"
        "  state       %.2f GiB\n",
        stage.name, stage.trained_parameters, stage.steps,
        steps * static_cast<double>(stage.tokens_per_step), stage.seconds_per_step,
        steps * stage.seconds_per_step / 3600.0, static_cast<double>(stage.memory_bytes) / kGiB,
        static_cast<double>(stage.state_bytes) / kGiB);
  }
  absl::StrAppendFormat(&text, "time        about %.2f h\n", seconds / 3600.0);
  absl::StrAppendFormat(
      &text, "disk        %.2f GiB at the most, a version %.2f GiB, free %.2f GiB\n",
      static_cast<double>(plan.disk_bytes) / kGiB, static_cast<double>(plan.version_bytes) / kGiB,
      static_cast<double>(plan.free_bytes) / kGiB);
  return text;
}

}  // namespace llava::training
