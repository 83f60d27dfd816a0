// The end of a run: from trained weights to a published version with its evaluation and probes.
#ifndef LLAVA_TRAINING_RUN_PUBLISH_RUN_H_
#define LLAVA_TRAINING_RUN_PUBLISH_RUN_H_

#include <cstdint>
#include <functional>
#include <string>

#include "absl/status/statusor.h"
#include "model/network/llava.h"
#include "training/optim/state_store.h"
#include "training/publish/publish.h"
#include "training/recipe/recipe.h"
#include "training/run/run_inputs.h"

namespace llava::training {

struct PublishRunOptions {
  // Human-readable lines.
  std::function<void(const std::string&)> on_message = [](const std::string&) {};
  // From here until PublishRun returns, the process is better not ended: servers are about to see
  // the version, and the run's record of it follows. It takes as long as some renames.
  std::function<void()> before_visible = [] {};
  std::string rejected = {};  // a verdict of before, which stands
};

// Saves the weights in bf16 beside the run's state, asks them what the recipe's `evaluate` section
// says, publishes them in recipe.publish, and records that in output/finished.json. Old versions
// beyond recipe.keep_published are deleted then. What the manifest says of model and data is what
// `inputs` say. `progress`: where training has come to.
//
// The version becomes the latest when every exam's required shares are reached and it is not worse
// than the live version (LiveVersion(recipe.publish)), which is asked the same questions.
// Else FinishedRun::rejected says why: it is published beside the others, `latest` stays, or (with
// `on_fail: drop`) nothing is published and `version` is "". With `options.rejected` the
// new version alone is asked, and gate.json is left as it is.
//
// Idempotent, and may be ended at any moment: answers that were given are not asked for again, and
// output/publishing.json tells the run that goes on what servers see already
// (training/run/opened_run.h).
absl::StatusOr<FinishedRun> PublishRun(const Recipe& recipe, const RunInputs& inputs,
                                       const model::Llava& model, const Progress& progress,
                                       const PublishRunOptions& options = {});

// The same up to the gate's decision: nothing is published, `version` is "".
absl::StatusOr<FinishedRun> JudgeRun(const Recipe& recipe, const RunInputs& inputs,
                                     const model::Llava& model, const Progress& progress,
                                     const std::function<void(const std::string&)>& on_message);

// REQUIRES: not kOfModel.
model::ImageAspect AspectOf(PictureAspect aspect);

// Opens everything that PublishRun will need besides the weights: the questions, their pictures,
// the folder of versions. `patch`: pixels of a patch of drawn scenes. The error names what is
// wrong.
absl::Status CheckPublishing(const Recipe& recipe, int patch);

}  // namespace llava::training

#endif  // LLAVA_TRAINING_RUN_PUBLISH_RUN_H_
