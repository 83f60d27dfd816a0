#include "training/run/trainer.h"

#include <ATen/core/grad_mode.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/check.h"
#include "base/status_macros.h"
#include "training/run/gradients.h"

namespace llava::training {
namespace {

constexpr char kWeight[] = "weight/";
constexpr char kOptimizer[] = "optimizer/";

std::vector<NamedTensor> Parameters(const AdamW& optimizer) {
  std::vector<NamedTensor> all;
  for (const ParameterGroup& group : optimizer.groups()) {
    all.insert(all.end(), group.parameters.begin(), group.parameters.end());
  }
  return all;
}

// Copies saved values into tensors of the same names; every target must be there.
absl::Status CopyInto(const std::vector<NamedTensor>& saved,
                      const std::vector<NamedTensor>& targets) {
  const at::NoGradGuard no_grad;
  std::map<std::string_view, const at::Tensor*> by_name;
  for (const NamedTensor& tensor : saved) by_name[tensor.name] = &tensor.tensor;
  for (const NamedTensor& target : targets) {
    const auto found = by_name.find(target.name);
    if (found == by_name.end() || found->second->sizes() != target.tensor.sizes()) {
      return absl::DataLossError(
          absl::StrCat("the saved state lacks ", target.name, " in the shape of the model"));
    }
    target.tensor.detach().copy_(*found->second);
  }
  return absl::OkStatus();
}

// The tensors whose names begin with `prefix`, without it.
std::vector<NamedTensor> WithPrefix(const SavedState& saved, std::string_view prefix) {
  std::vector<NamedTensor> tensors;
  for (const NamedTensor& tensor : saved.tensors) {
    if (tensor.name.starts_with(prefix)) {
      tensors.push_back({tensor.name.substr(prefix.size()), tensor.tensor});
    }
  }
  return tensors;
}

// How many stages the weights depend on.
std::int64_t StagesBegun(const Progress& progress) {
  return progress.stage + (progress.step > 0 ? 1 : 0);
}

}  // namespace

struct Trainer::StepTotals {
  double loss_sum = 0.0;
  std::int64_t targets = 0;
  std::int64_t correct = 0;
  BatchStats stats;
  std::vector<std::string> sample_ids;
};

Trainer::Trainer(const Recipe& recipe, model::Llava& model, StateStore& store, const Clock& clock,
                 TrainerHooks hooks)
    : recipe_(recipe), model_(model), store_(store), clock_(clock), hooks_(std::move(hooks)) {
  progress_.random = Rng(recipe.seed).state();
}

std::string Trainer::Where(const StageOptions& stage) const {
  return absl::StrCat("stage ", stage.name, ", step ", progress_.step + 1);
}

absl::Status RestoreWeights(const SavedState& saved, const model::Llava& model) {
  const at::NoGradGuard no_grad;
  for (const NamedTensor& weight : WithPrefix(saved, kWeight)) {
    const auto found = model.weights().find(weight.name);
    if (found == model.weights().end() || found->second.sizes() != weight.tensor.sizes()) {
      return absl::DataLossError(
          absl::StrCat("the saved state's ", weight.name, " is no weight of the model"));
    }
    found->second.detach().copy_(weight.tensor);
  }
  return absl::OkStatus();
}

absl::Status Trainer::Run() {
  std::vector<NamedTensor> optimizer_state;
  RETURN_IF_ERROR(Restore(&optimizer_state));
  while (progress_.stage < static_cast<std::int64_t>(recipe_.stages.size())) {
    const StageOptions& stage = recipe_.stages[progress_.stage];
    try {
      RETURN_IF_ERROR(RunStage(stage, optimizer_state));
    } catch (const c10::Error& error) {
      return absl::ResourceExhaustedError(
          absl::StrCat(Where(stage), ": ", error.what_without_backtrace()));
    }
    optimizer_state.clear();
    ++progress_.stage;
    progress_.step = 0;
    progress_.optimizer_steps = 0;
    RETURN_IF_ERROR(Save(nullptr));
  }
  return absl::OkStatus();
}

absl::Status Trainer::Restore(std::vector<NamedTensor>* optimizer_state) {
  ASSIGN_OR_RETURN(std::optional<SavedState> saved, store_.LoadNewest());
  if (!saved.has_value()) return absl::OkStatus();
  const std::string expected = RecipeDigest(recipe_, StagesBegun(saved->progress));
  if (saved->progress.recipe_digest != expected) {
    return absl::FailedPreconditionError(
        absl::StrCat(recipe_.output,
                     ": holds a run of another recipe (what the saved steps depend "
                     "on has changed): give another output, or remove it"));
  }
  progress_ = saved->progress;
  *optimizer_state = WithPrefix(*saved, kOptimizer);
  return CopyInto(WithPrefix(*saved, kWeight), TrainedWeights());
}

// Weights that the stages up to the current one train: the others are still those of the source.
std::vector<NamedTensor> Trainer::TrainedWeights() const {
  std::map<std::string, at::Tensor> weights;
  for (std::int64_t i = 0; i < std::ssize(recipe_.stages) && i <= progress_.stage; ++i) {
    for (const ParameterGroup& group : SelectParameters(recipe_.stages[i], model_, {})) {
      for (const NamedTensor& parameter : group.parameters) {
        weights.emplace(parameter.name, parameter.tensor);
      }
    }
  }
  std::vector<NamedTensor> named;
  for (const auto& [name, tensor] : weights) named.push_back({name, tensor});
  return named;
}

absl::Status Trainer::RunStage(const StageOptions& stage,
                               const std::vector<NamedTensor>& optimizer_state) {
  ASSIGN_OR_RETURN(const std::unique_ptr<Objective> objective,
                   hooks_.make_objective(stage, progress_.step));
  const std::vector<NamedTensor> extra = objective->extra_parameters();
  AdamW optimizer(SelectParameters(stage, model_, extra),
                  {.beta1 = stage.beta1, .beta2 = stage.beta2, .eps = stage.eps});
  for (const auto& [name, weight] : model_.weights()) weight.requires_grad_(false);
  for (const NamedTensor& parameter : Parameters(optimizer)) parameter.tensor.requires_grad_(true);
  if (progress_.step > 0) {
    std::vector<NamedTensor> targets = optimizer.State();
    targets.insert(targets.end(), extra.begin(), extra.end());
    RETURN_IF_ERROR(CopyInto(optimizer_state, targets));
    optimizer.set_steps(progress_.optimizer_steps);
  }
  const std::int64_t steps =
      stage.steps > 0 ? stage.steps : stage.epochs * objective->steps_per_epoch();
  stage_time_ = Duration::zero();
  stage_timed_ = 0;
  while (progress_.step < steps) {
    RETURN_IF_ERROR(RunStep(stage, steps, *objective, optimizer));
    const bool stop = hooks_.stop();
    if (stop || (progress_.total_steps % recipe_.save_every == 0 && progress_.step < steps)) {
      RETURN_IF_ERROR(Save(&optimizer));
    }
    if (stop) return absl::CancelledError("stopped and saved");
  }
  return absl::OkStatus();
}

absl::StatusOr<Trainer::StepTotals> Trainer::RunPasses(const StageOptions& stage,
                                                       Objective& objective) {
  StepTotals totals;
  const std::int64_t passes = PassesPerStep(stage, 1);
  for (std::int64_t i = 0; i < passes; ++i) {
    ASSIGN_OR_RETURN(Pass pass, objective.Next());
    totals.stats += pass.stats;
    if (!pass.loss_sum.defined()) continue;
    const double loss = pass.loss_sum.item<double>();
    if (!std::isfinite(loss)) {
      return absl::DataLossError(absl::StrCat(Where(stage), ": the loss is ", loss,
                                              "; samples: ", absl::StrJoin(pass.sample_ids, ", ")));
    }
    if (pass.loss_sum.requires_grad()) pass.loss_sum.backward();
    totals.loss_sum += loss;
    totals.targets += pass.targets;
    totals.correct += pass.correct;
    totals.sample_ids.insert(totals.sample_ids.end(), pass.sample_ids.begin(),
                             pass.sample_ids.end());
  }
  return totals;
}

absl::Status Trainer::RunStep(const StageOptions& stage, std::int64_t stage_steps,
                              Objective& objective, AdamW& optimizer) {
  const TimePoint start = clock_.Now();
  ASSIGN_OR_RETURN(const StepTotals totals, RunPasses(stage, objective));
  const double targets = static_cast<double>(std::max<std::int64_t>(1, totals.targets));
  const double norm = GradientNorm(Parameters(optimizer)) / targets;
  if (!std::isfinite(norm)) {
    return absl::DataLossError(absl::StrCat(Where(stage), ": the gradient norm is ", norm,
                                            "; samples: ", absl::StrJoin(totals.sample_ids, ", ")));
  }
  const double factor = ScheduleFactor(stage.schedule, progress_.step, stage_steps);
  if (totals.targets > 0) optimizer.Step(factor, ClipFactor(norm, stage.clip_norm) / targets);
  optimizer.ZeroGradients();
  progress_.optimizer_steps = optimizer.steps();
  ++progress_.step;
  ++progress_.total_steps;
  const Duration took = clock_.Now() - start;
  stage_time_ += took;
  ++stage_timed_;
  StepReport report;
  report.stage = stage.name;
  report.step = progress_.step;
  report.stage_steps = stage_steps;
  report.total_step = progress_.total_steps;
  report.loss = totals.loss_sum / targets;
  report.accuracy = static_cast<double>(totals.correct) / targets;
  report.gradient_norm = norm;
  report.rate = optimizer.groups().front().rate * factor;
  report.seconds = Seconds(took);
  report.seconds_left = Seconds(stage_time_) / static_cast<double>(stage_timed_) *
                        static_cast<double>(stage_steps - progress_.step);
  report.memory_bytes = ResidentBytes();
  report.targets = totals.targets;
  report.stats = totals.stats;
  hooks_.on_step(report);
  return absl::OkStatus();
}

absl::Status Trainer::Save(const AdamW* optimizer) {
  std::vector<NamedTensor> tensors;
  for (const NamedTensor& weight : TrainedWeights()) {
    tensors.push_back({absl::StrCat(kWeight, weight.name), weight.tensor});
  }
  if (optimizer != nullptr) {
    for (const NamedTensor& tensor : optimizer->State()) {
      tensors.push_back({absl::StrCat(kOptimizer, tensor.name), tensor.tensor});
    }
    for (const NamedTensor& parameter : Parameters(*optimizer)) {
      if (model_.weights().contains(parameter.name)) continue;
      tensors.push_back({absl::StrCat(kOptimizer, parameter.name), parameter.tensor});
    }
  }
  progress_.recipe_digest = RecipeDigest(recipe_, StagesBegun(progress_));
  return store_.Save(progress_, tensors);
}

}  // namespace llava::training
