// What a run has learned, in parts: its adapters, its projector.
#ifndef LLAVA_TRAINING_EXPORT_RUN_PARTS_H_
#define LLAVA_TRAINING_EXPORT_RUN_PARTS_H_

#include <string>

#include "absl/status/status.h"
#include "training/recipe/recipe.h"
#include "training/run/run_inputs.h"

namespace llava::training {

// The adapters of the last LoRA stage that has begun: from the newest saved state while the stage
// runs, else as they were when it ended. With them goes the projector as it was then, when this
// stage or one before has trained it. `recipe`: that of an opened run. NOT_FOUND: no such stage, no
// state, or a stage that ended before its adapters were kept. FAILED_PRECONDITION: stages have
// changed other weights of the base model, which adapters cannot say; the message names them.
//
// A manifest.json with the files' digests, `inputs`' version of the base model and data goes with
// them, so that llavad verifies what it loads.
absl::Status ExportPeft(const Recipe& recipe, const RunInputs& inputs, const std::string& folder);

enum class ProjectorNames {
  kOriginal,     // model.mm_projector.0.weight, as the original code has them
  kHuggingFace,  // multi_modal_projector.linear_1.weight
};

// The projector of the newest saved state in fp32 as WriteProjectorFile has it. ALREADY_EXISTS: the
// file is there. NOT_FOUND: no saved state.
absl::Status ExportProjector(const Recipe& recipe, ProjectorNames names, const std::string& file);

}  // namespace llava::training

#endif  // LLAVA_TRAINING_EXPORT_RUN_PARTS_H_
