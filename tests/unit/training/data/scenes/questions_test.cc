#include "training/data/scenes/questions.h"

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "tests/unit/training/data/scenes/each_scene.h"

namespace llava::training::scenes {
namespace {

// An oracle that knows nothing of how questions are made: it reads the words.
class Oracle {
 public:
  explicit Oracle(const Scene& scene) : scene_(scene) {}

  // The objects that the colour, shape and place words of `text` describe.
  std::vector<Object> Find(const std::string& text) const {
    std::vector<Object> found;
    for (const Object& object : scene_.objects) {
      if (Fits(text, kColours, object.colour) && Fits(text, kShapes, object.shape) &&
          FitsPlace(text, object.cell)) {
        found.push_back(object);
      }
    }
    return found;
  }

  static int PlaceIn(const std::string& text) {
    int best = -1;
    for (int cell = 0; cell < kCells; ++cell) {
      const std::string place(kPlaces[static_cast<std::size_t>(cell)]);
      if (!absl::StrContains(text, "the " + place)) continue;
      if (best < 0 || place.size() > kPlaces[static_cast<std::size_t>(best)].size()) best = cell;
    }
    return best;
  }

 private:
  template <typename Names>
  static bool Fits(const std::string& text, const Names& names, int which) {
    bool any = false;
    for (std::size_t i = 0; i < names.size(); ++i) {
      const std::string name(names[i]);
      if (!absl::StrContains(text, name)) continue;
      if (static_cast<int>(i) == which) return true;
      any = true;
    }
    return !any;
  }
  static bool FitsPlace(const std::string& text, int cell) {
    const int place = PlaceIn(text);
    return place < 0 || place == cell;
  }

  const Scene& scene_;
};

std::vector<Object> Beyond(const Scene& scene, const Object& from, const std::string& text) {
  std::vector<Object> found;
  for (const Object& o : scene.objects) {
    const double ahead = absl::StrContains(text, "left of")    ? from.x - o.x
                         : absl::StrContains(text, "right of") ? o.x - from.x
                         : absl::StrContains(text, "above")    ? from.y - o.y
                                                               : o.y - from.y;
    if (ahead > 0.03) found.push_back(o);
  }
  return found;
}

void CheckTruth(const Scene& scene, const Question& question) {
  const Oracle oracle(scene);
  const std::string where =
      absl::StrCat(scene.Signature(), " | ", question.text, " -> ", question.answer);
  const std::vector<Object> found = oracle.Find(question.text);
  if (question.kind == "count") {
    EXPECT_EQ(question.answer, absl::StrCat(found.size())) << where;
  } else if (question.kind == "digit" || question.kind == "word") {
    EXPECT_EQ(question.answer, scene.text->value) << where;
  } else if (question.kind == "relation") {
    ASSERT_EQ(found.size(), 1u) << where;
    const auto beyond = Beyond(scene, found[0], question.text);
    ASSERT_EQ(beyond.size(), 1u) << where;
    EXPECT_EQ(question.answer, "a " + beyond[0].Name()) << where;
  } else if (question.kind == "place" && (absl::StrContains(question.text, "digit") ||
                                          absl::StrContains(question.text, "number"))) {
    EXPECT_EQ(question.answer, kPlaces[static_cast<std::size_t>(scene.text->cell)]) << where;
  } else if (question.kind == "place" && absl::StrContains(question.text, "word")) {
    EXPECT_TRUE(absl::EndsWith(question.answer, " row")) << where;
  } else if (question.kind != "yes/no" && question.kind != "description") {
    ASSERT_EQ(found.size(), 1u) << where;
    const Object& object = found[0];
    const std::map<std::string, std::string> truth = {
        {"colour", std::string(kColours[static_cast<std::size_t>(object.colour)])},
        {"shape", std::string(kShapes[static_cast<std::size_t>(object.shape)])},
        {"size", std::string(kSizes[static_cast<std::size_t>(object.size)])},
        {"place", std::string(kPlaces[static_cast<std::size_t>(object.cell)])},
        {"what", "a " + object.Name()}};
    EXPECT_EQ(question.answer, truth.at(question.kind)) << where;
  }
}

void CheckYesNo(const Scene& scene, const Question& question) {
  const std::string where =
      absl::StrCat(scene.Signature(), " | ", question.text, " -> ", question.answer);
  bool truth = false;
  if (absl::StrContains(question.text, "digit")) {
    truth = scene.text && scene.text->is_digit();
  } else if (absl::StrContains(question.text, "word")) {
    truth = scene.text && !scene.text->is_digit();
  } else if (absl::StrContains(question.text, " of the ") ||
             absl::StrContains(question.text, " above ") ||
             absl::StrContains(question.text, " below ")) {
    if (absl::StrContains(question.text, "colour of")) {
      truth = !Oracle(scene).Find(question.text).empty();
    } else {
      const std::size_t second = question.text.rfind(" the ");
      const auto a = Oracle(scene).Find(question.text.substr(0, second));
      const auto b = Oracle(scene).Find(question.text.substr(second));
      ASSERT_EQ(a.size(), 1u) << where;
      ASSERT_EQ(b.size(), 1u) << where;
      const auto beyond = Beyond(scene, b[0], question.text);
      truth = std::find(beyond.begin(), beyond.end(), a[0]) != beyond.end();
    }
  } else {
    truth = !Oracle(scene).Find(question.text).empty();
  }
  EXPECT_EQ(question.answer, truth ? "yes" : "no") << where;
}

TEST(QuestionsTest, EveryAnswerIsTrueAndEveryKindIsAsked) {
  std::map<std::string, std::set<std::string>> wordings;
  int yes = 0, no = 0;
  ForEachScene(700, [&](const Scene& scene) {
    Rng rng(scene.style_seed);
    for (const Question& question : AllQuestions(scene, rng)) {
      CheckTruth(scene, question);
      if (question.kind == "yes/no") {
        CheckYesNo(scene, question);
        (question.answer == "yes" ? yes : no) += 1;
      }
      wordings[question.kind].insert(question.text.substr(0, question.text.find(' ')));
    }
  });
  EXPECT_EQ(wordings.size(), kKinds.size());
  for (const auto& [kind, first_words] : wordings) EXPECT_GE(first_words.size(), 2u) << kind;
  EXPECT_GT(yes * 10, no * 7);
  EXPECT_GT(no * 10, yes * 7);
}

// The same oracle, where things stand anywhere and two may be alike.
TEST(QuestionsTest, EveryAnswerAboutAFreeSceneIsTrue) {
  std::set<std::string> kinds;
  ForEachFreeScene(700, [&](const Scene& scene) {
    Rng rng(scene.style_seed);
    std::vector<Question> questions = AllQuestions(scene, rng);
    for (Question& comparison : Comparisons(scene, 4, rng)) questions.push_back(comparison);
    for (const Question& question : questions) {
      kinds.insert(question.kind);
      CheckTruth(scene, question);
      if (question.kind == "yes/no") CheckYesNo(scene, question);
    }
  });
  EXPECT_EQ(kinds.size(), kKinds.size());
}

TEST(QuestionsTest, ItIsTheThingThatWasSpokenOf) {
  ForEachFreeScene(300, [&](const Scene& scene) {
    Rng rng(scene.style_seed);
    for (const Question& question : AllQuestions(scene, rng)) {
      if (question.subject < 0) continue;
      const Object& it = scene.objects[static_cast<std::size_t>(question.subject)];
      const std::vector<Question> about = QuestionsAboutIt(scene, question.subject, rng);
      ASSERT_EQ(about.size(), 4u);
      EXPECT_EQ(about[0].answer, kColours[static_cast<std::size_t>(it.colour)]);
      EXPECT_EQ(about[1].answer, kShapes[static_cast<std::size_t>(it.shape)]);
      EXPECT_EQ(about[2].answer, kSizes[static_cast<std::size_t>(it.size)]);
      EXPECT_EQ(about[3].answer, kPlaces[static_cast<std::size_t>(it.cell)]);
      if (question.kind == "what" || question.kind == "relation") {
        EXPECT_EQ(question.answer, "a " + it.Name()) << question.text;
      }
    }
  });
}

TEST(QuestionsTest, ThePluralOfCrossIsCrosses) {
  int crosses = 0;
  ForEachScene(50, [&](const Scene& scene) {
    Rng rng(scene.style_seed);
    for (const Question& question : AllQuestions(scene, rng)) {
      EXPECT_FALSE(absl::StrContains(question.text, "crosss")) << question.text;
      crosses += absl::StrContains(question.text, "crosses") ? 1 : 0;
    }
  });
  EXPECT_GT(crosses, 0);
}

// A word is as wide as the picture; a digit is a thing like others.
TEST(QuestionsTest, NothingIsTheOnlyThingBesideAWord) {
  Scene scene;
  scene.objects = {InCell(0, 0, 0, 0), InCell(1, 1, 0, 2)};
  const auto sides = [&scene] {
    Rng rng(1);
    int count = 0;
    for (const Question& question : AllQuestions(scene, rng)) {
      const bool side = absl::StrContains(question.text, "left of") ||
                        absl::StrContains(question.text, "right of");
      count += question.kind == "relation" && side ? 1 : 0;
    }
    return count;
  };
  EXPECT_EQ(sides(), 2);
  scene.text = Text{"7", 4};  // in the middle: one more to the right of one and left of the other
  EXPECT_EQ(sides(), 0);
  scene.text = Text{"7", 3};
  EXPECT_EQ(sides(), 1);
  scene.text = Text{"CAT", 4};
  EXPECT_EQ(sides(), 0);
  scene.text = Text{"CAT", 7};
  EXPECT_EQ(sides(), 0);
}

TEST(QuestionsTest, ComparesTwoThingsTruly) {
  int yes = 0, no = 0;
  ForEachScene(200, [&](const Scene& scene) {
    Rng rng(scene.style_seed);
    const std::vector<Question> all = Comparisons(scene, 1000, rng);
    std::set<std::string> texts;
    for (const Question& question : all) {
      EXPECT_TRUE(texts.insert(question.text).second) << question.text;
      CheckYesNo(scene, question);
      (question.answer == "yes" ? yes : no) += 1;
    }
    EXPECT_EQ(Comparisons(scene, 3, rng).size(), std::min<std::size_t>(3, all.size()));
  });
  EXPECT_EQ(yes, no);
  EXPECT_GT(yes, 1000);
}

TEST(QuestionsTest, EqualQuestionsAboutASceneHaveEqualAnswers) {
  ForEachScene(200, [&](const Scene& scene) {
    std::map<std::string, std::string> answers;
    for (std::uint64_t seed = 0; seed < 10; ++seed) {
      Rng rng(seed);
      for (const Question& q : AllQuestions(scene, rng)) {
        EXPECT_EQ(answers.emplace(q.text, q.answer).first->second, q.answer) << q.text;
      }
    }
  });
}

TEST(QuestionsTest, ChoosesDifferentQuestionsOfManyKinds) {
  ForEachScene(100, [](const Scene& scene) {
    Rng rng(scene.style_seed);
    const auto questions = SomeQuestions(scene, 4, rng);
    std::set<std::string> texts, kinds;
    for (const Question& question : questions) {
      texts.insert(question.text);
      kinds.insert(question.kind);
    }
    EXPECT_EQ(texts.size(), questions.size());
    EXPECT_LE(questions.size(), 4u);
    EXPECT_GE(kinds.size(), 3u);
  });
}

TEST(QuestionsTest, DescribesInReadingOrder) {
  Scene scene;
  scene.objects = {InCell(1, 0, 1, 0), InCell(2, 3, 0, 8)};
  scene.text = Text{"CAT", 4};
  EXPECT_EQ(
      Caption(scene),
      "There is a big green circle at the top left, the word CAT in the middle row and a small "
      "blue cross at the bottom right.");
}

}  // namespace
}  // namespace llava::training::scenes
