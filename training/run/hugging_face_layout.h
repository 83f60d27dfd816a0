// A checkpoint of the original LLaVA code as a Hugging Face folder, which can be trained further
// and published: in the original layout <image> is no token of the vocabulary, in this one it is.
#ifndef LLAVA_TRAINING_RUN_HUGGING_FACE_LAYOUT_H_
#define LLAVA_TRAINING_RUN_HUGGING_FACE_LAYOUT_H_

#include <string>

#include "absl/status/statusor.h"

namespace llava::training {

// Writes `folder`, which must not hold weights yet (ALREADY_EXISTS): the tensors of `checkpoint`
// and of its vision tower (`vision_tower`, or what its configuration names) as they are, the
// template that its name stands for, and <image> and <pad> behind the vocabulary, whose rows are
// the mean of all others and whose number is a multiple of 64, as in llava-hf's conversions. A
// linear projector gets a second layer, the identity. Prompts get the ids of the original code; a
// sentence about those that do not is returned, empty where there are none. INVALID_ARGUMENT: not
// in the original layout. UNIMPLEMENTED: tokens that were added to the vocabulary. Else the errors
// of the model's files.
absl::StatusOr<std::string> ConvertToHuggingFace(const std::string& checkpoint,
                                                 const std::string& vision_tower,
                                                 const std::string& folder);

}  // namespace llava::training

#endif  // LLAVA_TRAINING_RUN_HUGGING_FACE_LAYOUT_H_
