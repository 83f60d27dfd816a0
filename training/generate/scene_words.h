// The words in which scenes of the demo's world are spoken of, and a reader of them. Pure, any
// thread.
#ifndef LLAVA_TRAINING_GENERATE_SCENE_WORDS_H_
#define LLAVA_TRAINING_GENERATE_SCENE_WORDS_H_

#include <cstddef>
#include <initializer_list>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace llava::training::spoken {

using Words = std::span<const std::string>;

inline constexpr int kAny = -1;       // nothing is said
inline constexpr int kNothing = 99;   // something that is in no scene: orange, a star
inline constexpr int kMiddle = 1;     // of three rows or columns
inline constexpr int kNotFirst = 10;  // "in the right half": the middle may be meant as well
inline constexpr int kNotLast = 11;   // "on the left side"

// A thing that is spoken of. A row or a column alone may be said of where it stands.
struct Spoken {
  int size = kAny, colour = kAny, shape = kAny, row = kAny, column = kAny;

  bool is_open() const { return size == kAny && colour == kAny && shape == kAny; }
  bool has_place() const { return row != kAny || column != kAny; }
};

// Runs of letters, digits and apostrophes.
std::vector<std::string> WordsOf(std::string_view text);
std::vector<std::string> Lower(Words words);

bool IsOneOf(const std::string& word, std::initializer_list<std::string_view> words);
bool HasOneOf(Words words, std::initializer_list<std::string_view> wanted);

// What a word of lower case stands for, or kAny.
int ColourOf(const std::string& word);
int SizeOf(const std::string& word);
int ShapeOf(const std::string& word);
int NumberOf(const std::string& word);
bool IsThing(const std::string& word);   // "object": any shape
bool IsVerb(const std::string& word);    // "is", "stands"
bool IsAdverb(const std::string& word);  // "rather", "clearly"

// A word that is written in scenes, as it is written.
bool IsWritten(std::string_view word);

// Reads a list of words from left to right.
class Reader {
 public:
  explicit Reader(Words words) : words_(words) {}

  bool at_end() const { return at_ >= words_.size(); }
  std::size_t at() const { return at_; }
  void GoTo(std::size_t at) { at_ = at; }
  void Skip() { ++at_; }
  const std::string& word(std::size_t ahead = 0) const {
    static const std::string& none = *new std::string();
    return at_ + ahead < words_.size() ? words_[at_ + ahead] : none;
  }

  bool Take(std::initializer_list<std::string_view> words) {
    const bool is = !at_end() && IsOneOf(word(), words);
    at_ += is ? 1 : 0;
    return is;
  }

  // "big red circle", "red object", "circle", "something red". Stays where it is when there is
  // none.
  std::optional<Spoken> TakeThing() {
    const std::size_t begin = at_;
    Spoken thing;
    if (Take({"anything", "something"})) {
      TakeLook(&thing);
      if (!thing.is_open()) return thing;
      at_ = begin;
      return std::nullopt;
    }
    TakeLook(&thing);
    thing.shape = at_end() ? kAny : ShapeOf(word());
    const bool is_thing = thing.shape != kAny || (!thing.is_open() && IsThing(word()));
    if (!at_end() && is_thing) {
      ++at_;
      return thing;
    }
    at_ = begin;
    return std::nullopt;
  }

  // Size and colour, in any order.
  void TakeLook(Spoken* thing) {
    for (; !at_end(); ++at_) {
      if (SizeOf(word()) != kAny) {
        thing->size = SizeOf(word());
      } else if (ColourOf(word()) != kAny) {
        thing->colour = ColourOf(word());
      } else {
        return;
      }
    }
  }

  // "in this picture", "here".
  void TakeInPicture() {
    const std::size_t begin = at_;
    if (Take({"here", "shown", "present"})) return;
    if (Take({"in"}) && Take({"the", "this"}) && Take({"picture", "image", "scene"})) return;
    at_ = begin;
  }

  // "at the top left", "in the middle", "near the left edge", but not "to the left of the circle".
  bool TakePlace(Spoken* thing) {
    const std::size_t begin = at_;
    Spoken place;
    const bool about = Take({"near", "towards", "toward", "along"});
    if ((about || Take({"at", "in", "on", "into"})) && Take({"the"})) {
      Take({"very", "far"});
      while (TakeSide(&place)) {
      }
      if (about) Widen(&place);
      if (place.has_place() && TakeExtent(&place)) {
        thing->row = place.row;
        thing->column = place.column;
        return true;
      }
    }
    at_ = begin;
    return false;
  }

 private:
  bool TakeSide(Spoken* place) {
    if (Take({"top", "upper"})) return Set(0, &place->row);
    if (Take({"bottom", "lower"})) return Set(2, &place->row);
    if (Take({"left"})) return Set(0, &place->column);
    if (Take({"right"})) return Set(2, &place->column);
    if (!Take({"middle", "center", "centre"})) return false;
    const bool alone = place->row == kAny && place->column == kAny;
    if (place->row == kAny) place->row = kMiddle;
    if (alone) place->column = kMiddle;
    return true;
  }

  // "corner", "half", "row" and "of the picture" behind sides; false: of something else.
  bool TakeExtent(Spoken* place) {
    Take({"hand"});
    Take({"corner"});
    const bool middle = place->row == kMiddle || place->column == kMiddle;
    if (IsOneOf(word(), {"row", "column"})) {
      if (middle) return false;  // of the row, not of the picture
      ++at_;
    } else if (Take({"side", "half", "part", "edge", "area", "section", "portion", "border"})) {
      if (middle) return false;
      Widen(place);
    }
    if (word() != "of") return true;
    if (!IsOneOf(word(1), {"the", "this"}) ||
        !IsOneOf(word(2), {"picture", "image", "scene", "canvas", "frame"})) {
      return false;
    }
    at_ += 3;
    return true;
  }

  // The middle may be meant as well as the side; nothing is said by what is about the middle.
  static void Widen(Spoken* place) {
    for (int* value : {&place->row, &place->column}) {
      if (*value == 0) *value = kNotLast;
      if (*value == 2) *value = kNotFirst;
      if (*value == kMiddle) *value = kAny;
    }
  }

  static bool Set(int to, int* value) {
    *value = to;
    return true;
  }

  const Words words_;
  std::size_t at_ = 0;
};

// Of two sizes the first is: 1 bigger, -1 smaller; 0 for other words.
int ComparisonOf(const std::string& word);

// "bigger than", "as big as", "the same size as", with what ComparisonOf says of it.
bool TakeComparison(Reader* reader, int* sign);

// "left of the square": how many columns and rows one has to go, as signs.
bool TakeDirection(Reader* reader, int* across, int* down);

bool Denies(Words words);
bool Supposes(Words words);
bool SpeaksOfAPart(Words words);  // of the picture

// "What would you see if the circle were red?" A question that could be put otherwise is none.
bool AsksOfWhatIsNot(Words asked);

// "There are a circle and a square", which is said of the picture also where the question is of
// what is not; not "then there is a square", "there is one left".
bool StatesWhatIs(Words words);

// Only some of the things that are named are meant, or others: "a shape that is red", "one of".
bool Narrows(const std::string& word);

// What is to be counted in "How many red shapes are there?", "Count the circles", "How many of the
// shapes are red?": nothing where that is not read whole.
std::optional<Spoken> CountedIn(Words asked);

}  // namespace llava::training::spoken

#endif  // LLAVA_TRAINING_GENERATE_SCENE_WORDS_H_
