#include "training/generate/scene_truth.h"

#include <algorithm>
#include <array>
#include <initializer_list>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_split.h"
#include "training/data/scenes/scene.h"

namespace llava::training {
namespace {

using Words = std::span<const std::string>;

constexpr int kAny = -1;      // nothing is said
constexpr int kNothing = 99;  // something that is in no scene: orange, a star
constexpr int kSides = 3;     // cells in a row or a column
constexpr int kMiddle = 1;

// A thing that is spoken of. A row or a column alone may be said of where it stands.
struct Spoken {
  int size = kAny, colour = kAny, shape = kAny, row = kAny, column = kAny;

  bool is_open() const { return size == kAny && colour == kAny && shape == kAny; }
};

std::vector<std::string> WordsOf(std::string_view text) {
  std::vector<std::string> words(1);
  for (const char c : text) {
    if (absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '\'') {
      words.back() += c;
    } else if (!words.back().empty()) {
      words.emplace_back();
    }
  }
  if (words.back().empty()) words.pop_back();
  return words;
}

bool IsOneOf(const std::string& word, std::initializer_list<std::string_view> words) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

bool HasOneOf(Words words, std::initializer_list<std::string_view> wanted) {
  return std::any_of(words.begin(), words.end(),
                     [&](const std::string& word) { return IsOneOf(word, wanted); });
}

template <typename Names>
int IndexOf(const Names& names, std::string_view word) {
  const auto found = std::find(names.begin(), names.end(), word);
  return found == names.end() ? kAny : static_cast<int>(found - names.begin());
}

int ColourOf(const std::string& word) {
  if (word == "gray") return scenes::kGrey;
  if (IsOneOf(word, {"orange", "pink", "brown", "cyan", "turquoise"})) return kNothing;
  return IndexOf(scenes::kColours, word);
}

int SizeOf(const std::string& word) {
  if (word == "large") return IndexOf(scenes::kSizes, "big");
  if (word == "tiny" || word == "little") return IndexOf(scenes::kSizes, "small");
  return IndexOf(scenes::kSizes, word);
}

int ShapeOf(const std::string& word) {
  if (IsOneOf(word, {"star", "stars", "rectangle", "rectangles", "oval", "ovals", "hexagon",
                     "hexagons", "pentagon", "pentagons", "heart", "hearts", "diamond"})) {
    return kNothing;
  }
  std::string one = word;
  if (word == "crosses") one = "cross";
  if (word != "cross" && absl::EndsWith(word, "s") && word != "crosses") one.pop_back();
  return IndexOf(scenes::kShapes, one);
}

// "object": any shape.
bool IsThing(const std::string& word) {
  return IsOneOf(word, {"shape", "shapes", "object", "objects", "thing", "things", "one", "ones",
                        "figure", "figures", "item", "items"});
}

int NumberOf(const std::string& word) {
  constexpr std::array<std::string_view, 10> kNumbers = {"zero", "one", "two",   "three", "four",
                                                         "five", "six", "seven", "eight", "nine"};
  if (word.size() == 1 && absl::ascii_isdigit(static_cast<unsigned char>(word[0]))) {
    return word[0] - '0';
  }
  return IndexOf(kNumbers, word);
}

bool IsVerb(const std::string& word) {
  return IsOneOf(word, {"is", "are", "stands", "stand", "sits", "lies", "appears", "located",
                        "placed", "positioned", "can", "be", "seen", "also"});
}

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

  // "big red circle", "red object", "circle". Stays where it is when there is none.
  std::optional<Spoken> TakeThing() {
    const std::size_t begin = at_;
    Spoken thing;
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

  // "at the top left", "in the middle", but not "to the left of the circle" nor "on the left side".
  void TakePlace(Spoken* thing) {
    const std::size_t begin = at_;
    Spoken place;
    if (Take({"at", "in", "on"}) && Take({"the"})) {
      while (TakeSide(&place)) {
      }
      const bool of_it = word() == "of" && word(1) == "the" &&
                         IsOneOf(word(2), {"picture", "image", "scene", "canvas"});
      const bool is_else = (word() == "of" && !of_it) ||
                           IsOneOf(word(), {"side", "half", "part", "row", "column", "edge"});
      if ((place.row != kAny || place.column != kAny) && !is_else) {
        thing->row = place.row;
        thing->column = place.column;
        return;
      }
    }
    at_ = begin;
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

  static bool Set(int to, int* value) {
    *value = to;
    return true;
  }

  const Words words_;
  std::size_t at_ = 0;
};

// What is in the picture.
struct Truth {
  std::vector<Spoken> things;
  std::string text;
  bool knows_places = false;
};

bool Fits(int said, int is) { return said == kAny || is == kAny || said == is; }

bool Fits(const Spoken& said, const Spoken& is) {
  return Fits(said.size, is.size) && Fits(said.colour, is.colour) && Fits(said.shape, is.shape) &&
         Fits(said.row, is.row) && Fits(said.column, is.column);
}

int Count(const Truth& truth, const Spoken& said) {
  return static_cast<int>(std::count_if(truth.things.begin(), truth.things.end(),
                                        [&](const Spoken& is) { return Fits(said, is); }));
}

bool IsSo(const Truth& truth, const Spoken& said) { return Count(truth, said) > 0; }
// All things of a sentence, with where they stand.
std::vector<Spoken> ThingsIn(Words words) {
  std::vector<Spoken> things;
  for (Reader reader(words); !reader.at_end();) {
    std::optional<Spoken> thing = reader.TakeThing();
    if (!thing.has_value()) {
      reader.Skip();
      continue;
    }
    reader.TakePlace(&*thing);
    things.push_back(*thing);
  }
  return things;
}

std::vector<std::string> Lower(Words words) {
  std::vector<std::string> lower;
  for (const std::string& word : words) lower.push_back(absl::AsciiStrToLower(word));
  return lower;
}

// Captions say where things stand, boxes which there are.
Truth TruthOf(const PictureContext& context) {
  Truth truth;
  for (const ContextBox& box : context.boxes) {
    const std::vector<std::string> words = WordsOf(box.category);
    if (words.size() == 2 && words[0] == "text") {
      truth.text = words[1];
      continue;
    }
    for (const Spoken& thing : ThingsIn(words)) truth.things.push_back(thing);
  }
  std::vector<Spoken> told;
  for (const std::string& caption : context.captions) {
    for (const Spoken& thing : ThingsIn(Lower(WordsOf(caption)))) told.push_back(thing);
  }
  truth.knows_places = told.size() == truth.things.size() && !told.empty() &&
                       std::all_of(told.begin(), told.end(), [](const Spoken& thing) {
                         return thing.row != kAny || thing.column != kAny;
                       });
  if (!truth.knows_places) return truth;
  for (Spoken& thing : told) {  // "top" is the middle of the top
    if (thing.row == kAny) thing.row = kMiddle;
    if (thing.column == kAny) thing.column = kMiddle;
  }
  truth.things = std::move(told);
  return truth;
}

bool Denies(Words words) {
  return std::any_of(words.begin(), words.end(), [](const std::string& word) {
    return IsOneOf(word, {"no", "not", "none", "neither", "nor", "nothing", "without"}) ||
           absl::EndsWith(word, "n't");
  });
}

bool Supposes(Words words) {
  return HasOneOf(words, {"would", "if", "were", "could", "suppose", "imagine", "might"});
}

// What is said of `thing` behind it: "is red", "is a circle", "stands at the top".
void TakeRest(Reader* reader, bool without_verb, Spoken* thing) {
  const auto take_verbs = [&](bool says) {
    for (; !reader->at_end() && IsVerb(reader->word()); reader->Skip()) says = true;
    return says;
  };
  bool says = take_verbs(without_verb);
  const std::size_t place = reader->at();
  reader->TakePlace(thing);  // "is at the top, a square ..." says no more, "at the top is red" does
  if (reader->at() > place) says = take_verbs(without_verb);
  if (!says) return;
  const std::size_t before = reader->at();
  reader->Take({"a", "an"});
  const std::optional<Spoken> same = reader->TakeThing();
  Spoken look = same.value_or(Spoken{});
  if (!same.has_value()) reader->TakeLook(&look);
  if (look.is_open()) {
    reader->GoTo(before);
    return;
  }
  if (look.size != kAny) thing->size = look.size;
  if (look.colour != kAny) thing->colour = look.colour;
  if (look.shape != kAny) thing->shape = look.shape;
}

// "left of the square": how many columns and rows one has to go, as signs.
bool TakeDirection(Reader* reader, int* across, int* down) {
  const std::size_t before = reader->at();
  if (reader->Take({"to"})) reader->Take({"the"});
  *across = *down = 0;
  if (reader->Take({"left"})) *across = -1;
  if (*across == 0 && reader->Take({"right"})) *across = 1;
  if (*across != 0 && reader->Take({"of"})) return true;
  if (*across == 0 && reader->Take({"above"})) *down = -1;
  if (*across == 0 && *down == 0 && reader->Take({"below", "under", "beneath"})) *down = 1;
  if (*across == 0 && *down != 0) return true;
  reader->GoTo(before);
  return false;
}

// Whether some such thing stands on that side of some such other.
bool StandsSo(const Truth& truth, const Spoken& one, const Spoken& other, int across, int down) {
  for (const Spoken& a : truth.things) {
    for (const Spoken& b : truth.things) {
      if (!Fits(one, a) || !Fits(other, b)) continue;
      if ((a.column - b.column) * across > 0 || (a.row - b.row) * down > 0) return true;
    }
  }
  return false;
}

// Things, what is said of them, and colours that nothing has.
bool ThingsAreSo(const Truth& truth, Words words, bool is_question) {
  for (Reader reader(words); !reader.at_end();) {
    std::optional<Spoken> thing = reader.TakeThing();
    if (!thing.has_value()) {
      if (ColourOf(reader.word()) != kAny && !IsSo(truth, {.colour = ColourOf(reader.word())})) {
        return false;
      }
      reader.Skip();
      continue;
    }
    TakeRest(&reader, is_question, &*thing);
    if (!IsSo(truth, *thing)) return false;
    int across = 0;
    int down = 0;
    if (!truth.knows_places || !TakeDirection(&reader, &across, &down)) continue;
    reader.Take({"the", "a"});
    const std::optional<Spoken> other = reader.TakeThing();
    if (other.has_value() && !StandsSo(truth, *thing, *other, across, down)) return false;
  }
  return true;
}

bool SpeaksOfAPart(Words words) {
  return HasOneOf(words, {"left", "right", "top", "bottom", "middle", "side", "row", "column",
                          "above", "below"});
}

// "three red shapes" of all that there are; a text may be counted among objects.
bool CountFits(const Truth& truth, int number, const Spoken& of, Words said) {
  const bool with_text = !truth.text.empty() && of.is_open() &&
                         HasOneOf(said, {"object", "objects", "thing", "things", "items"});
  const int count = Count(truth, of);
  return number == count || (with_text && number == count + 1);
}

bool CountsAreSo(const Truth& truth, Words words) {
  const bool of_all = HasOneOf(words, {"there", "shows", "show", "contains", "has", "see"});
  if (!of_all || SpeaksOfAPart(words)) return true;
  for (Reader reader(words); !reader.at_end(); reader.Skip()) {
    const int number = NumberOf(reader.word());
    if (number == kAny) continue;
    Reader behind = reader;
    behind.Skip();
    Spoken of;
    behind.TakeLook(&of);
    const std::string noun = behind.word();
    of.shape = ShapeOf(noun);
    const bool counts = of.shape != kAny || (IsThing(noun) && noun != "one" && noun != "ones");
    if (counts && !CountFits(truth, number, of, words)) return false;
  }
  return true;
}

// Words and digits that are said to be written. `words` as they are written.
bool TextIsSo(const Truth& truth, Words words) {
  for (std::size_t i = 0; i < words.size(); ++i) {
    const std::string before = i == 0 ? "" : absl::AsciiStrToLower(words[i - 1]);
    const std::string upper = absl::AsciiStrToUpper(words[i]);
    const bool behind = IsOneOf(before, {"word", "says", "reads", "text", "say", "letters"});
    const bool is_word = IndexOf(scenes::kWords, words[i]) != kAny ||
                         (behind && IndexOf(scenes::kWords, upper) != kAny);
    const bool is_digit = words[i].size() == 1 && NumberOf(words[i]) != kAny &&
                          (behind || IsOneOf(before, {"digit", "number"}));
    if ((is_word || is_digit) && upper != truth.text) return false;
  }
  return true;
}

// "There is no red circle."
bool DenialIsSo(const Truth& truth, Words words) {
  if (!HasOneOf(words, {"there"})) return true;
  for (std::size_t i = 0; i < words.size(); ++i) {
    Reader behind(words.subspan(i + 1));
    if (words[i] != "no") continue;
    const std::optional<Spoken> thing = behind.TakeThing();
    if (thing.has_value() && IsSo(truth, *thing)) return false;
  }
  return true;
}

bool SentenceIsSo(const Truth& truth, std::string_view sentence) {
  const std::vector<std::string> words = WordsOf(sentence);
  const std::vector<std::string> lower = Lower(words);
  if (Supposes(lower)) return true;
  if (Denies(lower)) return SpeaksOfAPart(lower) || DenialIsSo(truth, lower);
  return ThingsAreSo(truth, lower, /*is_question=*/false) && CountsAreSo(truth, lower) &&
         TextIsSo(truth, words);
}

// The one value that `read` finds among the words; kAny for none and for several.
int OnlyOne(Words words, int (*read)(const std::string&)) {
  int found = kAny;
  for (const std::string& word : words) {
    const int value = read(word);
    if (value == kAny || value == found) continue;
    if (found != kAny) return kAny;
    found = value;
  }
  return found;
}

// "Is there a red circle?" "Yes." says what the question says.
bool YesOrNoIsSo(const Truth& truth, Words asked, Words answer) {
  const bool yes = answer[0] == "yes";
  if ((!yes && answer[0] != "no") || Supposes(asked) || Denies(asked)) return true;
  if (!IsOneOf(asked[0], {"is", "are", "does", "do", "can"}) || HasOneOf(asked, {"or"})) {
    return true;
  }
  if (yes && !ThingsAreSo(truth, asked, /*is_question=*/true)) return false;
  const bool is_there = asked.size() > 1 && asked[1] == "there";
  if (!is_there && !HasOneOf(asked, {"see"})) return true;
  const std::vector<Spoken> things = ThingsIn(asked);
  if (things.empty() && HasOneOf(asked, {"digit", "number"}))
    return (truth.text.size() == 1) == yes;
  if (things.empty() && HasOneOf(asked, {"word"})) return (truth.text.size() > 1) == yes;
  return yes || things.size() != 1 || SpeaksOfAPart(asked) || !IsSo(truth, things[0]);
}

// An answer of a word or two says something together with its question.
bool ShortAnswerIsSo(const Truth& truth, Words asked, Words answer) {
  if (HasOneOf(asked, {"many"})) {
    const int number = OnlyOne(answer, NumberOf);
    const Spoken of{OnlyOne(asked, SizeOf), OnlyOne(asked, ColourOf), OnlyOne(asked, ShapeOf)};
    return number == kAny || SpeaksOfAPart(asked) || CountFits(truth, number, of, asked);
  }
  const std::vector<Spoken> things = ThingsIn(asked);
  if (things.empty() && asked[0] != "where" &&
      HasOneOf(asked, {"digit", "number", "word", "say", "written", "printed"})) {
    const std::string text = absl::AsciiStrToUpper(answer.back());
    const bool is_text = text.size() == 1 || IndexOf(scenes::kWords, text) != kAny;
    return !is_text || text == truth.text;
  }
  if (things.size() != 1) return true;
  Spoken thing = things[0];
  if (thing.colour == kAny) thing.colour = OnlyOne(answer, ColourOf);
  if (thing.size == kAny) thing.size = OnlyOne(answer, SizeOf);
  if (thing.shape == kAny) thing.shape = OnlyOne(answer, ShapeOf);
  if (asked[0] == "where") {
    std::vector<std::string> place = {"at", "the"};
    place.insert(place.end(), answer.begin(), answer.end());
    for (Reader reader(place); !reader.at_end(); reader.Skip()) reader.TakePlace(&thing);
  }
  return IsSo(truth, thing);
}

bool AnswerIsSo(const Truth& truth, const std::string& question, const std::string& answer) {
  constexpr std::size_t kShort = 3;
  const std::vector<std::string> asked = Lower(WordsOf(question));
  const std::vector<std::string> words = Lower(WordsOf(answer));
  if (asked.empty() || words.empty()) return true;
  if (!YesOrNoIsSo(truth, asked, words)) return false;
  const bool is_short = words.size() <= kShort || (asked[0] == "where" && ThingsIn(words).empty());
  if (!is_short || Supposes(asked) || Denies(words) || words[0] == "yes") return true;
  // "What is left of the circle?" "A square." is about another thing than the one in the question.
  const bool relates = HasOneOf(asked, {"of", "above", "below", "under", "beneath", "than"});
  return relates || ShortAnswerIsSo(truth, asked, words);
}

}  // namespace

void AcceptTrue(const PictureContext& context, ParsedReply* reply) {
  if (!reply->rejected.empty()) return;
  const Truth truth = TruthOf(context);
  for (const auto& [question, answer] : reply->dialogue) {
    bool is_so = AnswerIsSo(truth, question, answer);
    for (const absl::string_view sentence : absl::StrSplit(answer, absl::ByAnyChar(".!?;\n"))) {
      is_so = is_so && SentenceIsSo(truth, {sentence.data(), sentence.size()});
    }
    if (!is_so) reply->rejected = "untrue";
  }
}

}  // namespace llava::training
