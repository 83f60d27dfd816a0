// Whether what a language model says of a scene of the demo's world is so: there the truth is
// known. Pure functions, any thread.
#ifndef LLAVA_TRAINING_GENERATE_SCENE_TRUTH_H_
#define LLAVA_TRAINING_GENERATE_SCENE_TRUTH_H_

#include "training/data/picture_context.h"
#include "training/generate/dialogue.h"

namespace llava::training {

// Sets `rejected` to "untrue" when an answer says of `context` what is not so. Read are things
// ("big red circle", "the circle is red"), where they stand, to which side of one another, how many
// there are, which is bigger, what is written, and yes, no or one word as the answer to a question
// about these; a denial where the whole of what is denied is read. Sentences that suppose say
// nothing; what is not read counts as true.
void AcceptTrue(const PictureContext& context, ParsedReply* reply);

}  // namespace llava::training

#endif  // LLAVA_TRAINING_GENERATE_SCENE_TRUTH_H_
