#include "training/optim/trainer.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/full.h>
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
#include "training/optim/gradient_buckets.h"
#include "training/optim/gradient_sync.h"
#include "training/optim/gradients.h"
#include "training/optim/saved_tensors.h"
#include "training/optim/weight_shards.h"

namespace llava::training {
namespace {

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
  bool written = false;  // the state that was begun, on all ranks
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
    // Waited for: the next stage may be ended while it opens its data.
    RETURN_IF_ERROR(Save(nullptr, /*wait=*/true));
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
  *stage_state = WithPrefix(saved->tensors, kStagePrefix);
  return CopyInto(WithPrefix(saved->tensors, kWeightPrefix), TrainedWeights());
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
  // Before the optimizer, which keeps what the weights are then.
  const bool reads_decoder = options.objective == ObjectiveKind::kConversation;
  if (recipe_.shard_weights && ranks_.size() > 1 && reads_decoder) {
    stage->shards = std::make_unique<WeightShards>(ranks_, model_, *stage->sync);
  }
  stage->optimizer = std::make_unique<AdamW>(
      Keep(stage->groups, stage->sync->Owned()),
      AdamWOptions{.beta1 = options.beta1, .beta2 = options.beta2, .eps = options.eps});
  if (progress_.step > 0) {
    RETURN_IF_ERROR(CopyInto(stage_state, stage->optimizer->State()));
    stage->optimizer->set_steps(progress_.optimizer_steps);
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
  if (stage.adapters) stage.adapters->set_learning(false);
  ASSIGN_OR_RETURN(const ValidationSums here, stage.validation->Run(hooks_.stop));
  StepTotals totals;
  totals.loss_sum = here.loss;
  totals.targets = here.targets;
  totals.correct = here.correct;
  totals.stats.samples = here.rows;
  totals.stop = here.stopped;
  RETURN_IF_ERROR(Pool(&totals));
  if (totals.stop) {  // it is done again
    RETURN_IF_ERROR(Save(&stage, /*wait=*/true));
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
  report.unix_millis = clock_.UnixMillis();
  hooks_.on_validation(report);
  if (stage.adapters) stage.adapters->set_learning(true);
  if (report.best && stage.options.validate.keep_best) return Save(&stage, /*wait=*/false);
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
  RETURN_IF_ERROR(store_.Finish());
  auto best = store_.LoadAt(validation.best_total_steps, progress_.stage);
  if (!best.ok()) return Annotate(best.status(), "the state of the best validation");
  RETURN_IF_ERROR(CopyInto(WithPrefix(best->tensors, kWeightPrefix), TrainedWeights()));
  return CopyInto(WithPrefix(best->tensors, kStagePrefix), stage.extra);
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
    stage.objective->BeginPass(step_seed);
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
  std::vector<double> values = {totals->loss_sum, totals->stop ? 1.0 : 0.0,
                                totals->written ? 1.0 : 0.0};
  const std::size_t first = values.size();
  for (const std::int64_t* count : counts) values.push_back(static_cast<double>(*count));
  const at::Tensor here =
      at::from_blob(values.data(), {static_cast<std::int64_t>(values.size())}, at::kDouble);
  const at::Tensor sums = here.to(model_.device());
  RETURN_IF_ERROR(ranks_.Sum(sums)());
  here.copy_(sums);
  totals->loss_sum = values[0];
  totals->stop = values[1] > 0.0;
  totals->written = values[2] == static_cast<double>(ranks_.size());
  for (std::size_t i = 0; i < std::size(counts); ++i) {
    *counts[i] = static_cast<std::int64_t>(values[i + first]);
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
  totals.written = store_.written();
  RETURN_IF_ERROR(Pool(&totals));
  RETURN_IF_ERROR(store_.Advance(totals.written));
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
  if (totals.stop || due) RETURN_IF_ERROR(Save(&stage, /*wait=*/totals.stop));
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
  report.unix_millis = clock_.UnixMillis();
  report.targets = totals.targets;
  report.stats = totals.stats;
  return report;
}

// Whether every rank has memory for a copy of its share, as if all were on one machine.
absl::StatusOr<bool> Trainer::FitsTwice(const std::vector<model::NamedTensor>& share) const {
  std::int64_t bytes = 0;
  for (const model::NamedTensor& tensor : share) {
    bytes += static_cast<std::int64_t>(tensor.tensor.nbytes());
  }
  const double fits = bytes < hooks_.free_memory() / ranks_.size() ? 1.0 : 0.0;
  if (ranks_.size() == 1) return fits > 0.0;
  const at::Tensor all =
      at::full({1}, fits, at::TensorOptions(at::kDouble).device(model_.device()));
  RETURN_IF_ERROR(ranks_.Sum(all)());
  return all.item<double>() == static_cast<double>(ranks_.size());
}

// What all ranks have alike is dealt out between them; sharded weights and optimizer state are
// saved where they are.
absl::Status Trainer::Save(const Stage* stage, bool wait) {
  std::vector<model::NamedTensor> alike;
  std::vector<model::NamedTensor> mine;
  for (const model::NamedTensor& weight : TrainedWeights()) {
    const int owner = stage == nullptr ? -1 : stage->OwnerOf(weight.name);
    if (owner >= 0 && owner != ranks_.rank()) continue;
    (owner < 0 ? alike : mine).push_back({absl::StrCat(kWeightPrefix, weight.name), weight.tensor});
  }
  if (stage != nullptr) {
    for (const model::NamedTensor& parameter : stage->extra) {
      alike.push_back({absl::StrCat(kStagePrefix, parameter.name), parameter.tensor});
    }
    std::vector<model::NamedTensor>& optimizer = stage->sync->sharded() ? mine : alike;
    for (const model::NamedTensor& tensor : stage->optimizer->State()) {
      optimizer.push_back({absl::StrCat(kStagePrefix, tensor.name), tensor.tensor});
    }
  }
  std::vector<std::int64_t> elements;
  for (const model::NamedTensor& tensor : alike) elements.push_back(tensor.tensor.numel());
  const std::vector<int> owners = DealOwners(elements, ranks_.size());
  for (std::size_t i = 0; i < alike.size(); ++i) {
    if (owners[i] == ranks_.rank()) mine.push_back(alike[i]);
  }
  progress_.recipe_digest = RecipeDigest(recipe_, StagesBegun(progress_));
  if (!wait) {
    ASSIGN_OR_RETURN(const bool may_copy, FitsTwice(mine));
    if (may_copy) return store_.Begin(progress_, mine, hooks_.before_save);
  }
  return store_.Save(progress_, mine, hooks_.before_save);
}

}  // namespace llava::training
