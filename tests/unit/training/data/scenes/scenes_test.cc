#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <sstream>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/temp_dir.h"
#include "training/data/dense_labels.h"
#include "training/data/instruction_dataset.h"
#include "training/data/scenes/draw.h"
#include "training/data/scenes/patch_labels.h"
#include "training/data/scenes/questions.h"
#include "training/data/scenes/scene.h"
#include "training/data/scenes/write.h"

namespace llava::training::scenes {
namespace {

constexpr std::uint64_t kSeed = 20261123;

template <typename Visit>
void ForEachScene(int count, Visit visit) {
  for (const Level level : {Level::kOne, Level::kFew, Level::kFull, Level::kCrowded}) {
    for (int i = 0; i < count; ++i) visit(MakeScene(kSeed, Split::kTrain, level, i));
  }
}

TEST(SceneTest, KeepsItsPromises) {
  ForEachScene(300, [](const Scene& scene) {
    std::set<int> cells;
    std::set<std::string> names;
    for (const Object& object : scene.objects) {
      EXPECT_TRUE(cells.insert(object.cell).second) << scene.Signature();
      EXPECT_TRUE(names.insert(object.Name()).second) << scene.Signature();
    }
    if (scene.text) {
      const int row = scene.text->cell / 3 * 3;
      for (int cell = row; cell < row + 3; ++cell) {
        if (!scene.text->is_digit() || cell == scene.text->cell) {
          EXPECT_EQ(cells.count(cell), 0u);
        }
      }
    }
    EXPECT_FALSE(scene.objects.empty() && !scene.text);
    EXPECT_TRUE(std::is_sorted(scene.objects.begin(), scene.objects.end(),
                               [](const Object& a, const Object& b) { return a.cell < b.cell; }));
  });
}

TEST(SceneTest, IsAFunctionOfSeedSplitLevelAndIndex) {
  const Scene scene = MakeScene(1, Split::kTrain, Level::kFull, 7);
  EXPECT_EQ(scene.Signature(), MakeScene(1, Split::kTrain, Level::kFull, 7).Signature());
  EXPECT_EQ(scene.style_seed, MakeScene(1, Split::kTrain, Level::kFull, 7).style_seed);
  EXPECT_NE(scene.style_seed, MakeScene(2, Split::kTrain, Level::kFull, 7).style_seed);
  EXPECT_EQ(Draw(scene).bgr, Draw(scene).bgr);
}

TEST(SceneTest, NoHeldOutSceneIsEverTrainedOn) {
  for (int i = 0; i < 300; ++i) {
    EXPECT_FALSE(IsHeldOut(MakeScene(5, Split::kTrain, Level::kFull, i)));
    EXPECT_TRUE(IsHeldOut(MakeScene(5, Split::kHeldOut, Level::kOne, i)));
  }
}

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
    const bool beyond = absl::StrContains(text, "left of")    ? o.column() < from.column()
                        : absl::StrContains(text, "right of") ? o.column() > from.column()
                        : absl::StrContains(text, "above")    ? o.row() < from.row()
                                                              : o.row() > from.row();
    if (beyond) found.push_back(o);
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
  scene.objects = {{1, 0, 1, 0}, {2, 3, 0, 8}};
  scene.text = Text{"CAT", 4};
  EXPECT_EQ(
      Caption(scene),
      "There is a big green circle at the top left, the word CAT in the middle row and a small "
      "blue cross at the bottom right.");
}

// The pixels say what the labels say: under an object's mask the picture has the object's colour.
TEST(DrawTest, LabelsAreTrueOfThePixels) {
  const std::map<std::string_view, std::array<int, 3>> rgb = {{"red", {215, 35, 35}},
                                                              {"green", {40, 165, 50}},
                                                              {"blue", {35, 85, 220}},
                                                              {"yellow", {240, 215, 30}},
                                                              {"purple", {140, 45, 165}}};
  ForEachScene(60, [&](const Scene& scene) {
    const Picture picture = Draw(scene);
    ASSERT_EQ(picture.boxes.size(), scene.objects.size() + (scene.text ? 1 : 0));
    for (std::size_t i = 0; i < scene.objects.size(); ++i) {
      const Object& object = scene.objects[i];
      const Box& box = picture.boxes[i];
      EXPECT_EQ(static_cast<int>((box[0] + box[2]) / 2 * 3), object.column());
      EXPECT_EQ(static_cast<int>((box[1] + box[3]) / 2 * 3), object.row());
      const auto x = static_cast<std::size_t>((box[0] + box[2]) / 2 * kPictureSize);
      const auto y = static_cast<std::size_t>((box[1] + box[3]) / 2 * kPictureSize);
      const std::size_t at = y * kPictureSize + x;
      EXPECT_EQ(picture.what[at], 1 + object.shape);
      EXPECT_EQ(picture.colour[at], 1 + object.colour);
      const auto& expected = rgb.at(kColours[static_cast<std::size_t>(object.colour)]);
      for (std::size_t c = 0; c < 3; ++c) {
        EXPECT_NEAR(picture.bgr[at * 3 + 2 - c], expected[c], 80) << scene.Signature();
      }
    }
  });
}

TEST(DrawTest, PatchLabelsNameWhatLiesUnderThem) {
  Scene scene;
  scene.objects = {{0, 1, 1, 4}};
  scene.text = Text{"7", 0};
  const std::vector<LabelPlane> planes = PatchPlanes();
  for (const int patch : {16, 32}) {
    const std::vector<std::uint8_t> labels = LabelPatches(Draw(scene), patch);
    const auto side = static_cast<std::size_t>(kPictureSize / patch);
    ASSERT_EQ(labels.size(), planes.size() * side * side);
    const auto at = [&](std::size_t plane, std::size_t row, std::size_t column) {
      return planes[plane].classes[labels[(plane * side + row) * side + column]];
    };
    EXPECT_EQ(at(0, side / 2, side / 2), "square");
    EXPECT_EQ(at(1, side / 2, side / 2), "red");
    EXPECT_EQ(at(2, side / 2, side / 2), "big");
    EXPECT_EQ(at(3, side / 2, side / 2), "middle");
    EXPECT_EQ(at(0, 0, 0), "digit 7");
    EXPECT_EQ(at(1, 0, 0), "nothing");
    EXPECT_EQ(at(0, side - 1, side - 1), "nothing");
    EXPECT_EQ(at(3, side - 1, 0), "bottom left");
  }
}

// Small ones too, in a patch as large as their cell.
TEST(DrawTest, APatchOfACellNamesWhateverStandsThere) {
  for (int i = 0; i < 200; ++i) {
    const Scene scene = MakeScene(kSeed, Split::kTrain, Level::kCrowded, i);
    EXPECT_TRUE(scene.text.has_value());
    const std::vector<std::uint8_t> labels = LabelPatches(Draw(scene), kCell);
    for (const Object& object : scene.objects) {
      const auto cell = static_cast<std::size_t>(object.cell);
      EXPECT_EQ(labels[cell], 1 + object.shape) << scene.Signature();
      EXPECT_EQ(labels[kCells + cell], 1 + object.colour) << scene.Signature();
      EXPECT_EQ(labels[2 * kCells + cell], 1 + object.size) << scene.Signature();
    }
    const auto text = static_cast<std::size_t>(scene.text->cell);
    EXPECT_EQ(PatchPlanes()[0].classes[labels[text]], scene.text->Name());
  }
}

std::string ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream bytes;
  bytes << file.rdbuf();
  return bytes.str();
}

TEST(WriteTest, WritesWhatTheDatasetReadsAndTheSameBytesAgain) {
  test::TempDir dir;
  const WriteOptions options{.count = 20, .seed = 4};
  ASSERT_TRUE(WriteScenes(options, dir.path() + "/a").ok());
  ASSERT_TRUE(WriteScenes(options, dir.path() + "/b").ok());
  int files = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(dir.path() + "/a")) {
    if (!entry.is_regular_file()) continue;
    const auto relative = std::filesystem::relative(entry.path(), dir.path() + "/a");
    EXPECT_EQ(ReadFile(entry.path()), ReadFile(dir.path() + "/b/" + relative.string())) << relative;
    ++files;
  }
  EXPECT_EQ(files, 26);
  DatasetOptions dataset;
  dataset.images_dir = dir.path() + "/a/images";
  dataset.on_bad_row = OnBadRow::kStop;
  for (const char* name : {"instruct.jsonl", "captions.jsonl"}) {
    const auto data = InstructionDataset::Open({dir.path() + "/a/" + name}, dataset);
    ASSERT_TRUE(data.ok()) << data.status();
    EXPECT_EQ(data->size(), 20);
  }
  const auto labels = ReadDenseLabels(dir.path() + "/a");
  ASSERT_TRUE(labels.ok()) << labels.status();
  EXPECT_EQ(labels->images.size(), 20u);
  EXPECT_EQ(labels->rows, 12);
  EXPECT_EQ(labels->labels.size(), 20u * 4 * 144);
}

TEST(WriteTest, RefusesWhatItCannotDo) {
  test::TempDir dir;
  EXPECT_EQ(WriteScenes({.count = 0}, dir.path()).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(WriteScenes({.count = 1, .turns = 0}, dir.path()).code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(WriteScenes({.count = 1, .patch = 7}, dir.path()).code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(WriteScenes({.count = 1}, "/proc/none").code(), absl::StatusCode::kUnavailable);
}

TEST(DenseLabelsTest, NamesWhatIsWrong) {
  test::TempDir dir;
  EXPECT_EQ(ReadDenseLabels(dir.path()).status().code(), absl::StatusCode::kNotFound);
  DenseLabels labels;
  labels.patch = 8;
  labels.rows = labels.columns = 1;
  labels.planes = {{"what", {"nothing", "cat"}}};
  labels.images = {"a.jpg", "b.jpg"};
  labels.labels = {1, 2};
  EXPECT_THAT(WriteDenseLabels(labels, dir.path()).message(),
              testing::HasSubstr("label 2 of picture b.jpg is none of the 2 classes"));
  labels.labels = {1, 0};
  ASSERT_TRUE(WriteDenseLabels(labels, dir.path()).ok());
  EXPECT_EQ(ReadDenseLabels(dir.path())->planes[0].classes[1], "cat");
  std::ofstream(dir.path() + "/patches.u8", std::ios::app) << "x";
  EXPECT_THAT(ReadDenseLabels(dir.path()).status().message(), testing::HasSubstr("has 3 labels"));
  std::ofstream(dir.path() + "/patches.json") << "{}";
  EXPECT_EQ(ReadDenseLabels(dir.path()).status().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace llava::training::scenes
