// A Hugging Face checkpoint as the original code (github.com/haotian-liu/LLaVA) has it.
#ifndef LLAVA_TRAINING_EXPORT_ORIGINAL_LAYOUT_H_
#define LLAVA_TRAINING_EXPORT_ORIGINAL_LAYOUT_H_

#include <string>

#include "absl/status/statusor.h"

namespace llava::training {

// Writes the new folder `folder`: decoder and projector of `checkpoint` in the original's names and
// as they are stored, config.json of a llava_llama or llava_mistral, tokenizer.model with the
// slow tokenizer's files, mm_projector.bin, and the chat template, which this software reads. The
// rows of <image>, <pad> and padding are left out of the vocabulary: it ends with the pieces of
// tokenizer.model. A second projector layer that changes nothing (ConvertToHuggingFace adds it to a
// linear one) is left out, too. Tensor by tensor, so that no more than one is in memory.
//
// The original keeps its vision tower elsewhere. `vision_tower` is what config.json names: a folder
// here, whose tower and preprocessing must be the checkpoint's (INVALID_ARGUMENT names what
// differs), or a name of the hub, which is taken at its word. Empty: the tower is written into
// `folder`/vision_tower, as the folder of a CLIPVisionModel, and config.json names that.
//
// Returns a sentence about the prompts that the original code gives other ids than the checkpoint's
// own tokenizer does, empty where there are none.
//
// ALREADY_EXISTS: `folder` is there. INVALID_ARGUMENT: not in Hugging Face's layout, quantised.
// UNIMPLEMENTED names what the original code does not have: an architecture, a tower that is no
// CLIP, several feature layers, tokens beside <image> and <pad>, no tokenizer.model or another one
// than tokenizer.json's. Else the errors of the model's files. Removes `folder` again after a
// failure.
absl::StatusOr<std::string> ConvertToOriginal(const std::string& checkpoint,
                                              const std::string& vision_tower,
                                              const std::string& folder);

}  // namespace llava::training

#endif  // LLAVA_TRAINING_EXPORT_ORIGINAL_LAYOUT_H_
