// Conversations about one or two scenes: what a person asks after a first answer.
#ifndef LLAVA_TRAINING_DATA_SCENES_CONVERSATION_H_
#define LLAVA_TRAINING_DATA_SCENES_CONVERSATION_H_

#include <span>
#include <string>
#include <vector>

#include "base/rng.h"
#include "training/data/scenes/questions.h"
#include "training/data/scenes/scene.h"

namespace llava::training::scenes {

struct SpokenTurn {
  Question question;
  int pictures = 0;  // shown with the question, the next of them in order
  // The answer is not true: an assistant that erred, from which nothing is to be learned and which
  // must not spoil what follows.
  bool is_wrong = false;
};

// Two to `most` turns, of which the last is true. Subjects change from question to question or go
// on ("Where is it?"), questions begin with "And" now and then, one answer in eight is wrong. Of
// two pictures the second is shown later or both at once; a question means the last one that was
// shown, unless it says "In the first picture". REQUIRES: one or two scenes, most >= 2.
std::vector<SpokenTurn> MakeConversation(std::span<const Scene> scenes, int most, Rng& rng);

}  // namespace llava::training::scenes

#endif  // LLAVA_TRAINING_DATA_SCENES_CONVERSATION_H_
