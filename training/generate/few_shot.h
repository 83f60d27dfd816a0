// Prompts that show a language model, by examples, what to make of captions and boxes: as "Visual
// Instruction Tuning" builds them (its table 13).
#ifndef LLAVA_TRAINING_GENERATE_FEW_SHOT_H_
#define LLAVA_TRAINING_GENERATE_FEW_SHOT_H_

#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "training/data/picture_context.h"
#include "training/endpoint/chat_request.h"

namespace llava::training {

struct FewShot {
  std::string system;                                        // system_message.txt
  std::vector<std::pair<std::string, std::string>> samples;  // NNN_caps.txt and NNN_conv.txt
};

// Files are taken byte for byte, samples in the order of their names. NOT_FOUND: no system message,
// or a sample without its other half.
absl::StatusOr<FewShot> ReadFewShot(const std::string& folder);

// What is said of a picture: captions, and with `boxes` an empty line and the boxes.
std::string QueryText(const PictureContext& context, bool boxes);

// System message, each sample as a question and its answer, and the query.
std::vector<EndpointMessage> FewShotMessages(const FewShot& few_shot, const std::string& query);

}  // namespace llava::training

#endif  // LLAVA_TRAINING_GENERATE_FEW_SHOT_H_
