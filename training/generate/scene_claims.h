// What a sentence says of a scene of the demo's world as a whole: of all things, of two that are
// alike, of what is written. Nothing where it says none of this. Pure, any thread.
#ifndef LLAVA_TRAINING_GENERATE_SCENE_CLAIMS_H_
#define LLAVA_TRAINING_GENERATE_SCENE_CLAIMS_H_

#include <optional>

#include "training/generate/scene_facts.h"

namespace llava::training::spoken {

// "All of the shapes are big", "both the cross and the circle are red", "none is small".
std::optional<bool> AllAreSo(const Truth& truth, Words words);

// "The circle and the square have the same colour", "both shapes differ in size"; also the question
// "are the circle and the square the same colour".
std::optional<bool> AlikeIsSo(const Truth& truth, Words words);

// "The circle is to the left", "smaller", as the answer to "is the circle to the left or to the
// right of the square", "is the circle bigger or smaller than the square".
std::optional<bool> EitherIsSo(const Truth& truth, Words asked, Words answer);

// Whether a text is there of which `words` speak ("text", "digits"): nothing when they do not.
std::optional<bool> SpokenTextIsThere(const Truth& truth, Words words);

// What is said not to be in the picture, "no text", "no letters or digits", "does not contain a
// circle", is not there. True where nothing of this is said.
bool MissingIsSo(const Truth& truth, Words words);

// Words and digits that are said to be written, and where. `words` as they are written.
bool TextIsSo(const Truth& truth, Words words);

}  // namespace llava::training::spoken

#endif  // LLAVA_TRAINING_GENERATE_SCENE_CLAIMS_H_
