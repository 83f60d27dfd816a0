#include "training/optim/trainer.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/from_blob.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/check.h"
#include "base/status_macros.h"
#include "training/optim/adapters.h"
#include "training/optim/gradient_sync.h"
#include "training/optim/gradients.h"
#include "training/optim/weight_shards.h"

namespace llava::training {
namespace {

constexpr char kWeight[] = "weight/";
constexpr char kStageState[] = "optimizer/";

std::vector<model::NamedTensor> ParametersOf(const std::vector<ParameterGroup>& groups) {
  std::vector<model::NamedTensor> all;
  for (const ParameterGroup& group : groups) {
    all.insert(all.end(), group.parameters.begin(), group.parameters.end());
  }
  return all;
}

// The groups without the parameters that are not `wanted`; none is left out.
std::vector<ParameterGroup> Keep(std::vector<ParameterGroup> groups,
                                 const std::vector<model::NamedTensor>& wanted) {
  std::set<std::string_view> names;
  for (const model::NamedTensor& parameter : wanted) names.insert(parameter.name);
  for (ParameterGroup& group : groups) {
    std::erase_if(group.parameters, [&](const model::NamedTensor& parameter) {
      return !names.contains(parameter.name);
    });
  }
  return groups;
}

// Copies saved values into tensors of the same names; every target must be there.
absl::Status CopyInto(const std::vector<model::NamedTensor>& saved,
                      const std::vector<model::NamedTensor>& targets) {
  const at::NoGradGuard no_grad;
  std::map<std::string_view, const at::Tensor*> by_name;
  for (const model::NamedTensor& tensor : saved) by_name[tensor.name] = &tensor.tensor;
  for (const model::NamedTensor& target : targets) {
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
std::vector<model::NamedTensor> WithPrefix(const SavedState& saved, std::string_view prefix) {
  std::vector<model::NamedTensor> tensors;
  for (const model::NamedTensor& tensor : saved.tensors) {
    if (tensor.name.starts_with(prefix)) {
      tensors.push_back({tensor.name.substr(prefix.size()), tensor.tensor});
    }
  }
  return tensors;
}

// What a stage's adapters have learned so far, added to the model's weights.
absl::Status AddAdapters(const std::vector<model::NamedTensor>& stage_state,
                         const LoraOptions& options, const model::Llava& model) {
  std::map<std::string_view, at::Tensor> by_name;
  for (const model::NamedTensor& tensor : stage_state) by_name[tensor.name] = tensor.tensor;
  for (const auto& [name, weight] : model.weights()) {
    if (!IsTarget(name, options)) continue;
    const std::string layer = name.substr(0, name.size() - std::string_view(".weight").size());
    const auto a = by_name.find(layer + ".lora_A.weight");
    const auto b = by_name.find(layer + ".lora_B.weight");
    if (a == by_name.end() || b == by_name.end()) continue;  // a stage that has not begun
    const model::Lora lora{.a_RI = a->second,
                           .b_OR = b->second,
                           .scale = options.alpha / static_cast<double>(options.rank)};
    if (lora.a_RI.size(1) != weight.size(1) || lora.b_OR.size(0) != weight.size(0)) {
      return absl::DataLossError(absl::StrCat("the saved adapter of ", name, " has another shape"));
    }
    weight.detach().copy_(weight.to(at::kFloat) + lora.Product());
  }
  return absl::OkStatus();
}

}  // namespace

// A stage while it runs.
struct Trainer::Stage {
  explicit Stage(const StageOptions& stage_options) : options(stage_options) {}

  const StageOptions& options;
  std::int64_t steps = 0;
  std::unique_ptr<Objective> objective;
  std::unique_ptr<Validation> validation;  // nullptr: none
  std::optional<Adapters> adapters;
  std::vector<model::NamedTensor> extra;  // trained beside the model's own weights
  std::vector<ParameterGroup> groups;     // all that is trained
  std::unique_ptr<GradientSync> sync;
  std::unique_ptr<AdamW> optimizer;      // of what this rank owns
  std::unique_ptr<WeightShards> shards;  // nullptr: every weight is on every rank

  int OwnerOf(std::string_view weight) const { return shards ? shards->OwnerOf(weight) : -1; }
};

struct Trainer::StepTotals {
  double loss_sum = 0.0;
  std::int64_t targets = 0;
  std::int64_t correct = 0;
  BatchStats stats;
  double waited_seconds = 0.0;          // of this rank
  std::vector<std::string> sample_ids;  // of this rank
  bool stop = false;
};

Trainer::Trainer(const Recipe& recipe, model::Llava& model, StateStore& store, Ranks& ranks,
                 const Clock& clock, TrainerHooks hooks)
    : recipe_(recipe),
      model_(model),
      store_(store),
      ranks_(ranks),
      clock_(clock),
      hooks_(std::move(hooks)) {
  progress_.random = Rng(recipe.seed).state();
}

std::string Trainer::Where(const StageOptions& stage) const {
  return absl::StrCat("stage ", stage.name, ", step ", progress_.step + 1);
}

absl::Status RestoreWeights(const SavedState& saved, const Recipe& recipe,
                            const model::Llava& model) {
  const at::NoGradGuard no_grad;
  for (const model::NamedTensor& weight : WithPrefix(saved, kWeight)) {
    const auto found = model.weights().find(weight.name);
    if (found == model.weights().end() || found->second.sizes() != weight.tensor.sizes()) {
      return absl::DataLossError(
          absl::StrCat("the saved state's ", weight.name, " is no weight of the model"));
    }
    found->second.detach().copy_(weight.tensor);
  }
  const std::int64_t stage = saved.progress.stage;
  if (stage >= std::ssize(recipe.stages)) return absl::OkStatus();
  return AddAdapters(WithPrefix(saved, kStageState), recipe.stages[stage].lora, model);
}

std::vector<model::NamedTensor> AdaptersOf(const SavedState& saved) {
  std::vector<model::NamedTensor> tensors = WithPrefix(saved, kStageState);
  std::erase_if(tensors, [](const model::NamedTensor& tensor) {
    return !tensor.name.ends_with(".lora_A.weight") && !tensor.name.ends_with(".lora_B.weight");
  });
  return tensors;
}

std::vector<model::NamedTensor> WeightsOf(const SavedState& saved) {
  return WithPrefix(saved, kWeight);
}

absl::Status Trainer::Run() {
  std::vector<model::NamedTensor> stage_state;
  RETURN_IF_ERROR(Restore(&stage_state));
  while (progress_.stage < static_cast<std::int64_t>(recipe_.stages.size())) {
    const StageOptions& stage = recipe_.stages[progress_.stage];
    try {
      RETURN_IF_ERROR(RunStage(stage, stage_state));
    } catch (const c10::Error& error) {
      return absl::ResourceExhaustedError(
          absl::StrCat(Where(stage), ": ", error.what_without_backtrace()));
    }
    stage_state.clear();
    ++progress_.stage;
    progress_.step = 0;
    progress_.optimizer_steps = 0;
    progress_.validation = {};
    RETURN_IF_ERROR(Save(nullptr));
  }
  return absl::OkStatus();
}

absl::Status Trainer::Restore(std::vector<model::NamedTensor>* stage_state) {
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
  *stage_state = WithPrefix(*saved, kStageState);
  return CopyInto(WithPrefix(*saved, kWeight), TrainedWeights());
}

// Weights that the stages up to the current one change: the others are still those of the source.
// A stage's adapters reach the weights at its end only.
std::vector<model::NamedTensor> Trainer::TrainedWeights() const {
  std::map<std::string, at::Tensor> weights;
  for (std::int64_t i = 0; i < std::ssize(recipe_.stages) && i <= progress_.stage; ++i) {
    const StageOptions& stage = recipe_.stages[i];
    for (const ParameterGroup& group : SelectParameters(stage, model_, {})) {
      for (const model::NamedTensor& parameter : group.parameters) {
        weights.emplace(parameter.name, parameter.tensor);
      }
    }
    if (i == progress_.stage) break;
    for (const auto& [name, weight] : model_.weights()) {
      if (IsTarget(name, stage.lora)) weights.emplace(name, weight);
    }
  }
  std::vector<model::NamedTensor> named;
  for (const auto& [name, tensor] : weights) named.push_back({name, tensor});
  return named;
}

absl::StatusOr<std::unique_ptr<Trainer::Stage>> Trainer::Begin(
    const StageOptions& options, const std::vector<model::NamedTensor>& stage_state) {
  auto stage = std::make_unique<Stage>(options);
  ASSIGN_OR_RETURN(stage->objective, hooks_.make_objective(options, progress_.step));
  ASSIGN_OR_RETURN(stage->validation, hooks_.make_validation(options));
  stage->steps =
      options.steps > 0 ? options.steps : options.epochs * stage->objective->steps_per_epoch();
  stage->extra = stage->objective->extra_parameters();
  if (options.lora.rank > 0) {
    stage->adapters.emplace(model_, options.lora, recipe_.seed);
    const std::vector<model::NamedTensor>& adapters = stage->adapters->parameters();
    stage->extra.insert(stage->extra.end(), adapters.begin(), adapters.end());
  }
  model_.decoder().set_recompute(options.gradient_checkpointing);
  stage->groups = SelectParameters(options, model_, stage->extra);
  for (const auto& [name, weight] : model_.weights()) weight.requires_grad_(false);
  const std::vector<model::NamedTensor> parameters = ParametersOf(stage->groups);
  for (const model::NamedTensor& parameter : parameters) parameter.tensor.requires_grad_(true);
  stage->sync = std::make_unique<GradientSync>(ranks_, parameters, recipe_.shard);
  if (progress_.step > 0) RETURN_IF_ERROR(CopyInto(stage_state, stage->extra));
  stage->optimizer = std::make_unique<AdamW>(
      Keep(stage->groups, stage->sync->Owned()),
      AdamWOptions{.beta1 = options.beta1, .beta2 = options.beta2, .eps = options.eps});
  if (progress_.step > 0) {
    RETURN_IF_ERROR(CopyInto(stage_state, stage->optimizer->State()));
    stage->optimizer->set_steps(progress_.optimizer_steps);
  }
  const bool reads_decoder = options.objective == ObjectiveKind::kConversation;
  if (recipe_.shard_weights && ranks_.size() > 1 && reads_decoder) {
    stage->shards = std::make_unique<WeightShards>(ranks_, model_, *stage->sync);
  }
  return stage;
}

absl::Status Trainer::RunStage(const StageOptions& options,
                               const std::vector<model::NamedTensor>& stage_state) {
  ASSIGN_OR_RETURN(const std::unique_ptr<Stage> stage, Begin(options, stage_state));
  stage_time_ = Duration::zero();
  stage_timed_ = 0;
  for (;;) {
    if (IsValidationDue(*stage)) {
      if (stage->shards) RETURN_IF_ERROR(stage->shards->FetchAll());
      RETURN_IF_ERROR(Validate(*stage));
      if (stage->shards) stage->shards->DropAll();
    }
    const std::int64_t patience = options.validate.patience;
    if (patience > 0 && progress_.validation.since_best >= patience) break;
    if (progress_.step >= stage->steps) break;
    RETURN_IF_ERROR(RunStep(*stage));
  }
  if (progress_.optimizer_steps == 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("stage ", options.name, ": nothing was learnt in its ", stage->steps,
                     " steps: all rows are bad, or every label is masked: see llava-train check"));
  }
  if (stage->shards) RETURN_IF_ERROR(stage->shards->FetchAll());
  RETURN_IF_ERROR(TakeBest(*stage));
  if (stage->adapters) {
    RETURN_IF_ERROR(hooks_.on_adapters(options, stage->adapters->parameters()));
    stage->adapters->Merge();
  }
  return absl::OkStatus();
}

bool Trainer::IsValidationDue(const Stage& stage) const {
  if (stage.validation == nullptr || progress_.step == 0) return false;
  const bool is_due = progress_.step % stage.options.validate.every == 0 ||  // or the stage ends
                      progress_.step == stage.steps;
  return is_due && progress_.validation.last_step < progress_.step;
}

absl::Status Trainer::Validate(Stage& stage) {
  const TimePoint start = clock_.Now();
  if (stage.adapters) stage.adapters->UseDropout(false);
  ASSIGN_OR_RETURN(const ValidationSums here, stage.validation->Run(hooks_.stop));
  StepTotals totals;
  totals.loss_sum = here.loss;
  totals.targets = here.targets;
  totals.correct = here.correct;
  totals.stats.samples = here.rows;
  totals.stop = here.stopped;
  RETURN_IF_ERROR(Pool(&totals));
  if (totals.stop) {  // it is done again
    RETURN_IF_ERROR(Save(&stage));
    return absl::CancelledError("stopped and saved");
  }
  const auto targets = static_cast<double>(totals.targets);
  ValidationReport report;
  report.stage = stage.options.name;
  report.step = progress_.step;
  report.total_step = progress_.total_steps;
  report.loss = totals.loss_sum / targets;
  report.accuracy = static_cast<double>(totals.correct) / targets;
  report.rows = totals.stats.samples;
  report.targets = totals.targets;
  if (!std::isfinite(report.loss)) {
    return absl::DataLossError(absl::StrCat(
        "stage ", report.stage, ", validation after step ", report.step, ": the loss is ",
        report.loss, " over ", totals.targets, " label tokens of ", report.rows, " rows"));
  }
  ValidationProgress& validation = progress_.validation;
  report.best = validation.best_step < 0 || report.loss < validation.best_loss;
  validation.last_step = progress_.step;
  if (report.best) {
    validation.best_loss = report.loss;
    validation.best_step = progress_.step;
    validation.best_total_steps = progress_.total_steps;
  }
  report.since = validation.since_best = report.best ? 0 : validation.since_best + 1;
  report.seconds = Seconds(clock_.Now() - start);
  hooks_.on_validation(report);
  if (stage.adapters) stage.adapters->UseDropout(true);
  if (report.best && stage.options.validate.keep_best) return Save(&stage);
  return absl::OkStatus();
}

// Of a stage that is validated: the weights of its best validation, instead of the last ones.
absl::Status Trainer::TakeBest(const Stage& stage) {
  const ValidationProgress& validation = progress_.validation;
  if (!stage.options.validate.keep_best || validation.best_step < 0) return absl::OkStatus();
  progress_.kept_weights.push_back(absl::StrCat(
      "stage ", stage.options.name, ": the weights after step ", validation.best_step, " of ",
      progress_.step, ", of the least validation loss ", validation.best_loss));
  if (validation.best_step == progress_.step) return absl::OkStatus();
  auto best = store_.LoadAt(validation.best_total_steps, progress_.stage);
  if (!best.ok()) return Annotate(best.status(), "the state of the best validation");
  RETURN_IF_ERROR(CopyInto(WithPrefix(*best, kWeight), TrainedWeights()));
  return CopyInto(WithPrefix(*best, kStageState), stage.extra);
}

absl::StatusOr<Trainer::StepTotals> Trainer::RunPasses(Stage& stage) {
  StepTotals totals;
  Rng random(progress_.random);
  const std::uint64_t step_seed = random.Next();
  progress_.random = random.state();
  const std::int64_t passes = PassesPerStep(stage.options, ranks_.size());
  for (std::int64_t i = 0; i < passes; ++i) {
    const auto part = static_cast<std::uint64_t>(ranks_.rank() * passes + i);
    if (stage.adapters) stage.adapters->BeginPass(step_seed + part);
    stage.objective->BeginPass(step_seed + part);
    stage.sync->BeginPass(i + 1 == passes);
    ASSIGN_OR_RETURN(Pass pass, stage.objective->Next());
    if (stage.shards) RETURN_IF_ERROR(stage.shards->status());
    totals.stats += pass.stats;
    totals.waited_seconds += pass.waited_seconds;
    if (pass.loss_sum.defined()) {
      const double loss = pass.loss_sum.item<double>();
      if (!std::isfinite(loss)) {
        return absl::DataLossError(
            absl::StrCat(Where(stage.options), ": the loss is ", loss,
                         "; samples: ", absl::StrJoin(pass.sample_ids, ", ")));
      }
      if (pass.loss_sum.requires_grad()) pass.loss_sum.backward();
      totals.loss_sum += loss;
      totals.targets += pass.targets;
      totals.correct += pass.correct;
      totals.sample_ids.insert(totals.sample_ids.end(), pass.sample_ids.begin(),
                               pass.sample_ids.end());
    }
    if (stage.shards) RETURN_IF_ERROR(stage.shards->EndPass());
    RETURN_IF_ERROR(stage.sync->EndPass());
  }
  return totals;
}

// Adds up what the ranks counted.
absl::Status Trainer::Pool(StepTotals* totals) const {
  if (ranks_.size() == 1) return absl::OkStatus();
  BatchStats& stats = totals->stats;
  std::int64_t* const counts[] = {
      &totals->targets,    &totals->correct, &stats.samples, &stats.tokens, &stats.label_tokens,
      &stats.image_tokens, &stats.truncated, &stats.masked,  &stats.bad,    &stats.padding};
  std::vector<double> values = {totals->loss_sum, totals->stop ? 1.0 : 0.0};
  for (const std::int64_t* count : counts) values.push_back(static_cast<double>(*count));
  const at::Tensor here =
      at::from_blob(values.data(), {static_cast<std::int64_t>(values.size())}, at::kDouble);
  const at::Tensor sums = here.to(model_.device());
  RETURN_IF_ERROR(ranks_.Sum(sums)());
  here.copy_(sums);
  totals->loss_sum = values[0];
  totals->stop = values[1] > 0.0;
  for (std::size_t i = 0; i < std::size(counts); ++i) {
    *counts[i] = static_cast<std::int64_t>(values[i + 2]);
  }
  return absl::OkStatus();
}

absl::Status Trainer::Update(Stage& stage, const StepTotals& totals, double norm,
                             double factor) const {
  const auto targets = static_cast<double>(totals.targets);
  if (totals.targets > 0) {
    stage.optimizer->Step(factor, ClipFactor(norm, stage.options.clip_norm) / targets);
    RETURN_IF_ERROR(stage.sync->ShareWeights(
        [&](const std::string& name) { return stage.OwnerOf(name) >= 0; }));
  }
  stage.optimizer->ZeroGradients();
  return absl::OkStatus();
}

absl::Status Trainer::RunStep(Stage& stage) {
  const TimePoint start = clock_.Now();
  ASSIGN_OR_RETURN(StepTotals totals, RunPasses(stage));
  totals.stop = hooks_.stop();
  RETURN_IF_ERROR(Pool(&totals));
  ASSIGN_OR_RETURN(double norm, stage.sync->Norm());
  norm /= static_cast<double>(std::max<std::int64_t>(1, totals.targets));
  if (!std::isfinite(norm)) {
    return absl::DataLossError(absl::StrCat(Where(stage.options), ": the gradient norm is ", norm,
                                            "; samples: ", absl::StrJoin(totals.sample_ids, ", ")));
  }
  const double factor = ScheduleFactor(stage.options.schedule, progress_.step, stage.steps);
  RETURN_IF_ERROR(Update(stage, totals, norm, factor));
  progress_.optimizer_steps = stage.optimizer->steps();
  ++progress_.step;
  ++progress_.total_steps;
  const Duration took = clock_.Now() - start;
  stage_time_ += took;
  ++stage_timed_;
  hooks_.on_step(Report(stage, totals, norm, factor, took));
  const bool due = progress_.total_steps % recipe_.save_every == 0 && progress_.step < stage.steps;
  if (totals.stop || due) RETURN_IF_ERROR(Save(&stage));
  return totals.stop ? absl::CancelledError("stopped and saved") : absl::OkStatus();
}

StepReport Trainer::Report(const Stage& stage, const StepTotals& totals, double norm, double factor,
                           Duration took) const {
  const auto targets = static_cast<double>(std::max<std::int64_t>(1, totals.targets));
  StepReport report;
  report.stage = stage.options.name;
  report.step = progress_.step;
  report.stage_steps = stage.steps;
  report.total_step = progress_.total_steps;
  report.loss = totals.loss_sum / targets;
  report.accuracy = static_cast<double>(totals.correct) / targets;
  report.gradient_norm = norm;
  report.rate = stage.groups.front().rate * factor;
  report.seconds = Seconds(took);
  report.waited_seconds = totals.waited_seconds;
  report.seconds_left = Seconds(stage_time_) / static_cast<double>(stage_timed_) *
                        static_cast<double>(stage.steps - progress_.step);
  report.memory_bytes = ResidentBytes();
  report.targets = totals.targets;
  report.stats = totals.stats;
  return report;
}

// What all ranks have alike is dealt out between them; sharded weights and optimizer state are
// saved where they are.
absl::Status Trainer::Save(const Stage* stage) {
  std::vector<model::NamedTensor> alike;
  std::vector<model::NamedTensor> mine;
  for (const model::NamedTensor& weight : TrainedWeights()) {
    const int owner = stage == nullptr ? -1 : stage->OwnerOf(weight.name);
    if (owner >= 0 && owner != ranks_.rank()) continue;
    (owner < 0 ? alike : mine).push_back({absl::StrCat(kWeight, weight.name), weight.tensor});
  }
  if (stage != nullptr) {
    for (const model::NamedTensor& parameter : stage->extra) {
      alike.push_back({absl::StrCat(kStageState, parameter.name), parameter.tensor});
    }
    std::vector<model::NamedTensor>& optimizer = stage->sync->sharded() ? mine : alike;
    for (const model::NamedTensor& tensor : stage->optimizer->State()) {
      optimizer.push_back({absl::StrCat(kStageState, tensor.name), tensor.tensor});
    }
  }
  std::size_t rank = 0;
  for (const model::NamedTensor& tensor : alike) {
    if (static_cast<int>(rank) == ranks_.rank()) mine.push_back(tensor);
    rank = (rank + 1) % static_cast<std::size_t>(ranks_.size());
  }
  RETURN_IF_ERROR(hooks_.before_save());
  progress_.recipe_digest = RecipeDigest(recipe_, StagesBegun(progress_));
  return store_.Save(progress_, mine);
}

}  // namespace llava::training
