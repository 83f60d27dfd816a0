// Reads what a text_config says of rotary position embeddings.
#ifndef LLAVA_MODEL_CONFIG_ROPE_CONFIG_H_
#define LLAVA_MODEL_CONFIG_ROPE_CONFIG_H_

#include "base/json_reader.h"
#include "model/config/config.h"

namespace llava::model {

// What else of the decoder rotary embeddings depend on.
struct RopeContext {
  int positions = 0;           // max_position_embeddings
  int original_positions = 0;  // of families that have them beside the scaling; 0: as `positions`
  int head_dim = 0;
  bool may_be_partial = false;    // partial_rotary_factor may be below 1
  bool yarn_is_longrope = false;  // Phi-3's older files call it so (configuration_phi3.py)
};

// transformers 4: rope_theta and rope_scaling. transformers 5: both inside rope_parameters, which
// counts where there is no rope_scaling. Fails for a scaling that the decoder does not have.
RopeConfig ReadRope(JsonReader& reader, const RopeContext& context);

}  // namespace llava::model

#endif  // LLAVA_MODEL_CONFIG_ROPE_CONFIG_H_
