#include "server/scheduling/plan.h"

namespace llava::scheduling {

void StepPlan::Clear() {
  drop_features.clear();
  encodes.clear();
  copies.clear();
  chunks.clear();
  image_rows.clear();
  samples.clear();
  total_tokens = 0;
  total_keys = 0;
}

}  // namespace llava::scheduling
