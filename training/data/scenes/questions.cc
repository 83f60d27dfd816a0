#include "training/data/scenes/questions.h"

#include <algorithm>
#include <cmath>
#include <initializer_list>
#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/substitute.h"

namespace llava::training::scenes {
namespace {

std::string Colour(int colour) { return std::string(kColours[static_cast<std::size_t>(colour)]); }
std::string Shape(int shape) { return std::string(kShapes[static_cast<std::size_t>(shape)]); }
std::string Plural(const std::string& shape) { return shape + (shape == "cross" ? "es" : "s"); }

std::string Place(int cell) { return std::string(kPlaces[static_cast<std::size_t>(cell)]); }

// "in the middle", "at the top left".
std::string At(int cell) {
  return absl::StrCat(cell == kCells / 2 ? "in the " : "at the ", Place(cell));
}

std::string PlaceOf(const Text& text) {
  constexpr std::array<const char*, 3> kRows = {"top row", "middle row", "bottom row"};
  return text.is_digit() ? Place(text.cell) : kRows[static_cast<std::size_t>(text.cell / 3)];
}

// One of the wordings; $0 and $1 are filled in.
std::string Say(Rng& rng, std::initializer_list<const char*> wordings, const std::string& a = "",
                const std::string& b = "") {
  const char* wording =
      *(wordings.begin() + static_cast<std::ptrdiff_t>(rng.Below(wordings.size())));
  return absl::Substitute(wording, a, b);
}

// The next of `from` that is not `but`.
int Other(Rng& rng, std::size_t from, int but) {
  const int shift = 1 + static_cast<int>(rng.Below(from - 1));
  return (but + shift) % static_cast<int>(from);
}

struct Direction {
  const char* words;  // "left of"
  int dx, dy;
};
constexpr std::array<Direction, 4> kDirections = {
    {{"left of", -1, 0}, {"right of", 1, 0}, {"above", 0, -1}, {"below", 0, 1}}};

// Two things this near along a direction stand level: neither is asked to be ahead of the other.
constexpr double kLevel = 0.12;

// How much further `one` stands in the direction, in shares of the picture.
template <typename Thing, typename Other>
double Ahead(const Thing& one, const Other& other, const Direction& direction) {
  return (one.x - other.x) * direction.dx + (one.y - other.y) * direction.dy;
}

// A thing that is ahead by less than this is not ahead in anybody's eyes.
constexpr double kAlmost = 0.03;

bool AreLevel(double ahead) { return std::abs(ahead) < kLevel; }

// Of a text in a scene of cells, too.
struct Spot {
  double x, y;
};

Spot SpotOf(const Scene& scene, const Text& text) {
  if (scene.is_free) return {text.x, text.y};
  return {(text.cell % 3 + 0.5) / 3, (text.cell / 3 + 0.5) / 3};
}

// Collects the questions of one scene.
class Asker {
 public:
  Asker(const Scene& scene, Rng& rng) : scene_(scene), rng_(rng) {}

  std::vector<Question> All() {
    for (const Object& object : scene_.objects) {
      subject_ = static_cast<int>(&object - scene_.objects.data());
      if (IsUnique(object)) AskAbout(object);
    }
    subject_ = -1;
    AskCounts();
    AskCells();
    AskText();
    AskExistence();
    AskForDescriptions();
    return std::move(questions_);
  }

 private:
  void Add(const char* kind, std::string text, std::string answer) {
    questions_.push_back({kind, std::move(text), std::move(answer), subject_});
  }
  void AddYesNo(std::string text, bool yes) { Add("yes/no", std::move(text), yes ? "yes" : "no"); }

  template <typename Predicate>
  int Count(Predicate predicate) const {
    return static_cast<int>(std::count_if(scene_.objects.begin(), scene_.objects.end(), predicate));
  }
  int CountShape(int shape) const {
    return Count([shape](const Object& o) { return o.shape == shape; });
  }
  int CountColour(int colour) const {
    return Count([colour](const Object& o) { return o.colour == colour; });
  }
  int CountBoth(int colour, int shape) const {
    return Count([=](const Object& o) { return o.colour == colour && o.shape == shape; });
  }
  bool Has(int colour, int shape) const { return CountBoth(colour, shape) > 0; }
  // Also of texts: a word takes its whole row.
  bool IsAloneInCell(const Object& object) const {
    const std::optional<Text>& text = scene_.text;
    const bool beside_text = text && (text->cell == object.cell ||
                                      (!text->is_digit() && text->cell / 3 == object.row()));
    return !beside_text && Count([&](const Object& o) { return o.cell == object.cell; }) == 1;
  }
  bool IsUnique(const Object& object) const { return CountBoth(object.colour, object.shape) == 1; }

  void AskAbout(const Object& object);
  void AskAttributes(const Object& object);
  void AskRelations(const Object& object);
  void AskRelationYesNo(const Object& object);
  void AskCounts();
  void AskCells();
  void AskText();
  void AskExistence();
  void AskForDescriptions();

  const Scene& scene_;
  Rng& rng_;
  int subject_ = -1;  // of the questions that are added
  std::vector<Question> questions_;
};

void Asker::AskAbout(const Object& object) {
  AskAttributes(object);
  const std::string name = object.Name();
  Add("size",
      Say(rng_,
          {"Is the $0 big or small?", "How big is the $0?", "What size is the $0?",
           "Is the $0 small or big?"},
          name),
      std::string(kSizes[static_cast<std::size_t>(object.size)]));
  Add("place",
      Say(rng_,
          {"Where is the $0?", "Where in the picture is the $0?", "In which place is the $0?",
           "Where do you see the $0?"},
          name),
      Place(object.cell));
  const bool here = rng_.Chance(0.5);
  const int cell = here ? object.cell : Other(rng_, kCells, object.cell);
  AddYesNo(Say(rng_, {"Is the $0 $1?", "Does the $0 stand $1?"}, name, At(cell)), here);
  AskRelations(object);
  AskRelationYesNo(object);
}

void Asker::AskAttributes(const Object& object) {
  const std::string colour = Colour(object.colour);
  const std::string shape = Shape(object.shape);
  if (CountShape(object.shape) == 1) {
    Add("colour",
        Say(rng_,
            {"What colour is the $0?", "What color is the $0?", "Which colour does the $0 have?",
             "Which color has the $0?", "What is the colour of the $0?",
             "What is the color of the $0?"},
            shape),
        colour);
    const bool yes = rng_.Chance(0.5);
    const int asked = yes ? object.colour : Other(rng_, kColours.size(), object.colour);
    AddYesNo(Say(rng_, {"Is the $0 $1?", "Is the colour of the $0 $1?"}, shape, Colour(asked)),
             yes);
  }
  if (CountColour(object.colour) == 1) {
    Add("shape",
        Say(rng_,
            {"What shape is the $0 object?", "Which shape does the $0 object have?",
             "What is the shape of the $0 object?", "What is the $0 object?", "What shape is $0?"},
            colour),
        shape);
    const bool yes = rng_.Chance(0.5);
    const int asked = yes ? object.shape : Other(rng_, kShapes.size(), object.shape);
    AddYesNo(Say(rng_, {"Is the $0 object a $1?", "Is the $0 shape a $1?"}, colour, Shape(asked)),
             yes);
  }
}

// Asked only when one object and no text lies further in that direction, wherever across it, and
// nothing stands nearly level.
void Asker::AskRelations(const Object& object) {
  const int asked = subject_;
  for (const Direction& direction : kDirections) {
    // A word is as wide as the picture: it lies to the left and to the right of everything.
    if (scene_.text && (direction.dx != 0 && !scene_.text->is_digit())) continue;
    if (scene_.text && Ahead(SpotOf(scene_, *scene_.text), object, direction) > kAlmost) continue;
    int found = -1;
    int count = 0;
    bool doubtful = false;
    for (const Object& other : scene_.objects) {
      const double ahead = Ahead(other, object, direction);
      doubtful |= ahead > kAlmost && AreLevel(ahead);
      if (ahead < kLevel) continue;
      found = static_cast<int>(&other - scene_.objects.data());
      ++count;
    }
    if (count != 1 || doubtful) continue;
    subject_ = found;
    Add("relation",
        Say(rng_,
            {"What is $0 the $1?", "Which object is $0 the $1?", "What do you see $0 the $1?",
             "What stands $0 the $1?"},
            direction.words, object.Name()),
        absl::StrCat("a ", scene_.objects[static_cast<std::size_t>(found)].Name()));
    subject_ = asked;
  }
}

void Asker::AskRelationYesNo(const Object& object) {
  for (const Object& other : scene_.objects) {
    const bool across = rng_.Chance(0.5);
    const bool positive = rng_.Chance(0.5);  // "right of" or "below"
    const Direction& direction = kDirections[(across ? 0u : 2u) + (positive ? 1u : 0u)];
    const double ahead = Ahead(object, other, direction);
    if (AreLevel(ahead) || !IsUnique(other)) continue;
    AddYesNo(Say(rng_, {"Is the $0 $1?"}, object.Name(),
                 absl::StrCat(direction.words, " the ", other.Name())),
             ahead > 0);
  }
}

void Asker::AskCounts() {
  Add("count",
      Say(rng_, {"How many shapes are there?", "How many shapes do you see?", "Count the shapes.",
                 "How many shapes are in the picture?"}),
      absl::StrCat(scene_.objects.size()));
  const auto shape = static_cast<int>(rng_.Below(kShapes.size()));
  const auto colour = static_cast<int>(rng_.Below(kColours.size()));
  for (const int asked : {shape, scene_.objects.empty() ? shape : scene_.objects[0].shape}) {
    Add("count",
        Say(rng_,
            {"How many $0 are there?", "How many $0 do you see?", "Count the $0.",
             "How many $0 are in the picture?"},
            Plural(Shape(asked))),
        absl::StrCat(CountShape(asked)));
  }
  for (const int asked : {colour, scene_.objects.empty() ? colour : scene_.objects[0].colour}) {
    Add("count",
        Say(rng_,
            {"How many $0 shapes are there?", "How many $0 shapes do you see?",
             "How many shapes are $0?"},
            Colour(asked)),
        absl::StrCat(CountColour(asked)));
  }
}

void Asker::AskCells() {
  for (const Object& object : scene_.objects) {
    if (!IsAloneInCell(object)) continue;
    subject_ = static_cast<int>(&object - scene_.objects.data());
    const std::string place = At(object.cell);
    Add("what",
        Say(rng_, {"What is $0?", "What do you see $0?", "Which object is $0?", "What stands $0?"},
            place),
        absl::StrCat("a ", object.Name()));
    Add("colour",
        Say(rng_, {"What colour is the object $0?", "What color is the shape $0?"}, place),
        Colour(object.colour));
    Add("shape", Say(rng_, {"What shape is the object $0?", "Which shape is $0?"}, place),
        Shape(object.shape));
  }
  subject_ = -1;
}

void Asker::AskText() {
  const bool has_digit = scene_.text && scene_.text->is_digit();
  const bool has_word = scene_.text && !scene_.text->is_digit();
  if (has_digit) {
    Add("digit",
        Say(rng_,
            {"Which digit is printed?", "What digit do you see?", "Which number is in the picture?",
             "What number is printed?", "What is the digit?", "What does it say?"}),
        scene_.text->value);
    Add("place",
        Say(rng_, {"Where is the digit?", "Where is the number?", "Where is the digit printed?"}),
        PlaceOf(*scene_.text));
  }
  if (has_word) {
    Add("word",
        Say(rng_, {"What does it say?", "Which word is printed?", "Read the word.",
                   "What is written?", "What word do you see?", "What does the picture say?"}),
        scene_.text->value);
    Add("place", Say(rng_, {"Where is the word?", "Where is the word printed?"}),
        PlaceOf(*scene_.text));
  }
  if (rng_.Chance(0.5)) {
    AddYesNo(Say(rng_, {"Is there a digit?", "Is a digit printed in the picture?"}), has_digit);
  } else {
    AddYesNo(Say(rng_, {"Is there a word?", "Is a word printed in the picture?"}), has_word);
  }
}

// One that is there and, with the same chance, one that is not but shares a colour or a shape.
void Asker::AskExistence() {
  if (scene_.objects.empty()) return;
  const Object& object = scene_.objects[rng_.Below(scene_.objects.size())];
  int colour = object.colour;
  int shape = object.shape;
  if (rng_.Chance(0.5)) {
    do {
      const bool same_colour = rng_.Chance(0.5);
      colour = same_colour ? object.colour : Other(rng_, kColours.size(), object.colour);
      shape = same_colour ? Other(rng_, kShapes.size(), object.shape) : object.shape;
    } while (Has(colour, shape));
  }
  AddYesNo(Say(rng_,
               {"Is there a $0 $1?", "Is there a $0 $1 in the picture?", "Do you see a $0 $1?",
                "Can you see a $0 $1?"},
               Colour(colour), Shape(shape)),
           Has(colour, shape));
  const bool yes = rng_.Chance(0.5);
  const int asked_shape = yes ? object.shape : Other(rng_, kShapes.size(), object.shape);
  AddYesNo(Say(rng_, {"Is there a $0?", "Do you see a $0?", "Is there a $0 in the picture?"},
               Shape(asked_shape)),
           CountShape(asked_shape) > 0);
  const int asked_colour = yes ? object.colour : Other(rng_, kColours.size(), object.colour);
  AddYesNo(Say(rng_, {"Is anything $0?", "Is there a $0 shape?", "Is there something $0?"},
               Colour(asked_colour)),
           CountColour(asked_colour) > 0);
}

std::string Article(const Text& text) { return absl::StrCat("the ", text.Name()); }

// "a, b and c"
std::string Join(const std::vector<std::string>& parts) {
  if (parts.size() < 2) return parts.empty() ? "nothing" : parts[0];
  return absl::StrCat(absl::StrJoin(parts.begin(), parts.end() - 1, ", "), " and ", parts.back());
}

// Things in reading order, each as `object` and `text` say.
template <typename SayObject, typename SayText>
std::string List(const Scene& scene, SayObject object, SayText text) {
  std::vector<std::pair<int, std::string>> things;
  for (const Object& o : scene.objects) things.emplace_back(o.cell, object(o));
  if (scene.text) things.emplace_back(scene.text->cell, text(*scene.text));
  std::sort(things.begin(), things.end());
  std::vector<std::string> parts;
  for (auto& [cell, words] : things) parts.push_back(std::move(words));
  return Join(parts);
}

void Asker::AskForDescriptions() {
  Add("description", Say(rng_, {"What is in the picture?", "What do you see?", "What is there?"}),
      List(scene_, [](const Object& o) { return absl::StrCat("a ", o.Name()); }, Article));
  Add("description",
      Say(rng_, {"Describe the picture.", "Describe the image in detail.",
                 "Give a detailed description of the picture."}),
      Caption(scene_));
}

}  // namespace

std::vector<Question> QuestionsAboutIt(const Scene& scene, int subject, Rng& rng) {
  const Object& it = scene.objects[static_cast<std::size_t>(subject)];
  return {{"colour",
           Say(rng, {"What colour is it?", "What color is it?", "Which colour does it have?"}),
           Colour(it.colour), subject},
          {"shape", Say(rng, {"What shape is it?", "Which shape does it have?"}), Shape(it.shape),
           subject},
          {"size", Say(rng, {"Is it big or small?", "How big is it?", "What size is it?"}),
           std::string(kSizes[static_cast<std::size_t>(it.size)]), subject},
          {"place", Say(rng, {"Where is it?", "Where in the picture is it?", "And where is it?"}),
           Place(it.cell), subject}};
}

std::vector<Question> Comparisons(const Scene& scene, int count, Rng& rng) {
  std::vector<Question> all;
  const auto is_unique = [&scene](const Object& object) {
    return std::count_if(scene.objects.begin(), scene.objects.end(),
                         [&](const Object& other) { return other.Name() == object.Name(); }) == 1;
  };
  for (const Object& one : scene.objects) {
    for (const Object& other : scene.objects) {
      if (!is_unique(one) || !is_unique(other)) continue;
      for (const Direction& direction : kDirections) {
        const double ahead = Ahead(one, other, direction);
        if (AreLevel(ahead)) continue;
        all.push_back(
            {"yes/no",
             absl::StrCat("Is the ", one.Name(), " ", direction.words, " the ", other.Name(), "?"),
             ahead > 0 ? "yes" : "no", static_cast<int>(&one - scene.objects.data())});
      }
    }
  }
  rng.Shuffle(all);
  all.resize(std::min(all.size(), static_cast<std::size_t>(count)));
  return all;
}

std::string Caption(const Scene& scene) {
  const std::string list = List(
      scene, [](const Object& o) { return absl::StrCat("a ", o.SizedName(), " ", At(o.cell)); },
      [](const Text& t) {
        return absl::StrCat(Article(t), " ",
                            t.is_digit() ? At(t.cell) : absl::StrCat("in the ", PlaceOf(t)));
      });
  return absl::StrCat("There is ", list, ".");
}

std::vector<Question> AllQuestions(const Scene& scene, Rng& rng) { return Asker(scene, rng).All(); }

std::vector<Question> SomeQuestions(const Scene& scene, int count, Rng& rng) {
  std::vector<Question> all = AllQuestions(scene, rng);
  rng.Shuffle(all);
  std::vector<Question> chosen;
  std::set<std::string> texts;
  // Round after round, at most one of each kind.
  while (static_cast<int>(chosen.size()) < count && !all.empty()) {
    std::set<std::string> kinds;
    std::vector<Question> rest;
    for (Question& question : all) {
      if (!kinds.insert(question.kind).second) {
        rest.push_back(std::move(question));
      } else if (static_cast<int>(chosen.size()) < count && texts.insert(question.text).second) {
        chosen.push_back(std::move(question));
      }
    }
    all = std::move(rest);
  }
  rng.Shuffle(chosen);
  return chosen;
}

}  // namespace llava::training::scenes
