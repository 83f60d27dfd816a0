// What is asked: pairs of a picture and a kind, in an order that does not depend on the machine.
#ifndef LLAVA_TRAINING_GENERATE_ITEMS_H_
#define LLAVA_TRAINING_GENERATE_ITEMS_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "training/data/picture_context.h"
#include "training/endpoint/chat_request.h"
#include "training/generate/dialogue.h"
#include "training/generate/few_shot.h"
#include "training/generate/generate_plan.h"

namespace llava::training {

struct GenerateItem {
  std::size_t picture = 0;  // into the pictures
  std::size_t kind = 0;     // into the plan's kinds
};

// All that a plan names, read.
struct GenerateInputs {
  std::vector<PictureContext> pictures;
  std::vector<FewShot> few_shots;  // by kind
  std::vector<GenerateItem> items;
  std::string fingerprint;  // hex, of what is told or shown of the pictures, and the few-shot files
};

absl::StatusOr<GenerateInputs> ReadInputs(const GeneratePlan& plan);

// `attempt`: 1, or 2 with another seed.
ChatRequest RequestOf(const GeneratePlan& plan, const GenerateInputs& inputs,
                      const GenerateItem& item, int attempt);

// A reply as the item's dialogue; `truncated`: the model ran out of tokens.
ParsedReply ReadReply(const GeneratePlan& plan, const GenerateInputs& inputs,
                      const GenerateItem& item, const std::string& reply, bool truncated);

// In [0, 1), the same for the same words.
double ChanceOf(const GeneratePlan& plan, const std::string& what, const std::string& id);

// The row of LLaVA's format, as JSON, with "<image>" before or after the first question.
std::string RowJson(const GeneratePlan& plan, const PictureContext& picture,
                    const std::string& kind, const Dialogue& dialogue, const std::string& key,
                    const std::string& model, int attempt);

}  // namespace llava::training

#endif  // LLAVA_TRAINING_GENERATE_ITEMS_H_
