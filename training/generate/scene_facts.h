// What is so in a scene of the demo's world, and whether something that is spoken of fits it. Pure,
// any thread.
#ifndef LLAVA_TRAINING_GENERATE_SCENE_FACTS_H_
#define LLAVA_TRAINING_GENERATE_SCENE_FACTS_H_

#include <string>
#include <vector>

#include "training/data/picture_context.h"
#include "training/generate/scene_words.h"

namespace llava::training::spoken {

// What is in the picture.
struct Truth {
  std::vector<Spoken> things;
  std::string text;   // "CAT", "7", or nothing
  Spoken text_place;  // as far as it is told; of a word no column
  bool knows_places = false;
};

// Captions say where things stand, boxes which there are.
Truth TruthOf(const PictureContext& context);

// All things of a sentence, with where they stand.
std::vector<Spoken> ThingsIn(Words words);

// The one value that `read` finds among the words; kAny for none and for several.
int OnlyOne(Words words, int (*read)(const std::string&));

// Whether what is said of a thing may be said of `is`.
bool Fits(const Spoken& said, const Spoken& is);

int Count(const Truth& truth, const Spoken& said);
bool IsSo(const Truth& truth, const Spoken& said);

// "three red shapes" of all that there are; a text may be counted among objects.
bool CountFits(const Truth& truth, int number, const Spoken& of, Words said);

// Whether some such thing stands on that side of some such other.
bool StandsSo(const Truth& truth, const Spoken& one, const Spoken& other, int across, int down);

// Whether some such thing is bigger (-1: smaller, 0: as big) than some such other.
bool ComparesSo(const Truth& truth, const Spoken& one, const Spoken& other, int sign);

// Whether nothing is bigger (with -1: smaller) than some such thing.
bool IsExtreme(const Truth& truth, const Spoken& said, int sign);

}  // namespace llava::training::spoken

#endif  // LLAVA_TRAINING_GENERATE_SCENE_FACTS_H_
