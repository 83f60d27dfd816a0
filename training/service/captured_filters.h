// What a trigger's recipe takes of captured turns.
#ifndef LLAVA_TRAINING_SERVICE_CAPTURED_FILTERS_H_
#define LLAVA_TRAINING_SERVICE_CAPTURED_FILTERS_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "capture/selection.h"

namespace llava::training {

struct CapturedFilter {
  std::string dir;  // where a daemon captures
  capture::Wanted wanted;
};

// Those of the stages of a trigger's recipe, each once. Errors of RenderRecipe and ParseRecipe,
// where the template names captured turns at all.
absl::StatusOr<std::vector<CapturedFilter>> CapturedFiltersOf(const std::string& recipe);

}  // namespace llava::training

#endif  // LLAVA_TRAINING_SERVICE_CAPTURED_FILTERS_H_
