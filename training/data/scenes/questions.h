// What can be asked about a scene, with the true answers, in varied wording. Only questions with
// one right answer are asked: "the circle" only where there is one circle, "left of" only where
// exactly one thing stands further left, and nothing that is a little further left only.
#ifndef LLAVA_TRAINING_DATA_SCENES_QUESTIONS_H_
#define LLAVA_TRAINING_DATA_SCENES_QUESTIONS_H_

#include <array>
#include <string>
#include <string_view>
#include <vector>

#include "base/rng.h"
#include "training/data/scenes/scene.h"

namespace llava::training::scenes {

// The kinds that evaluation counts apart.
inline constexpr std::array<std::string_view, 11> kKinds = {
    "colour", "shape",  "size",  "count", "place",      "relation",
    "what",   "yes/no", "digit", "word",  "description"};

struct Question {
  std::string kind;  // one of kKinds
  std::string text;
  std::string
      answer;  // the whole expected answer; equal texts about equal scenes have equal answers
  // Into Scene::objects: what "it" would mean after the answer; -1 for nothing in particular.
  int subject = -1;

  bool operator==(const Question&) const = default;
};

// Everything that can be asked, in a fixed order, each in a wording that `rng` chooses. Yes/no
// questions are about as often true as false.
std::vector<Question> AllQuestions(const Scene& scene, Rng& rng);

// At most `count` of them, different texts, in random order, the kinds evenly.
std::vector<Question> SomeQuestions(const Scene& scene, int count, Rng& rng);

// "Is the red circle left of the blue square?": at most `count` different questions about two
// things that do not stand level, as often true as false.
std::vector<Question> Comparisons(const Scene& scene, int count, Rng& rng);

// What can be asked about a thing that "it" means: its colour, shape, size and place.
std::vector<Question> QuestionsAboutIt(const Scene& scene, int subject, Rng& rng);

// "There is a big red circle at the top left and the word CAT in the bottom row."
std::string Caption(const Scene& scene);

}  // namespace llava::training::scenes

#endif  // LLAVA_TRAINING_DATA_SCENES_QUESTIONS_H_
