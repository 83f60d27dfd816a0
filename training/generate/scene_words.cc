#include "training/generate/scene_words.h"

#include <algorithm>
#include <array>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "training/data/scenes/scene.h"

namespace llava::training::spoken {
namespace {

template <typename Names>
int IndexOf(const Names& names, std::string_view word) {
  const auto found = std::find(names.begin(), names.end(), word);
  return found == names.end() ? kAny : static_cast<int>(found - names.begin());
}

}  // namespace

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
  return IsOneOf(word,
                 {"is",       "are",     "stands",   "stand",   "sits",   "lies",  "appears",
                  "located",  "placed",  "situated", "can",     "be",     "seen",  "positioned",
                  "standing", "sitting", "rests",    "resting", "tucked", "found", "also"});
}

bool IsAdverb(const std::string& word) {
  return absl::EndsWith(word, "ly") || IsOneOf(word, {"very", "quite", "rather", "much", "also",
                                                      "just", "about", "far", "pretty"});
}

std::vector<std::string> Lower(Words words) {
  std::vector<std::string> lower;
  for (const std::string& word : words) lower.push_back(absl::AsciiStrToLower(word));
  return lower;
}

int ComparisonOf(const std::string& word) {
  if (IsOneOf(word, {"bigger", "larger", "biggest", "largest"})) return 1;
  return IsOneOf(word, {"smaller", "smallest", "tinier", "tiniest"}) ? -1 : 0;
}

bool TakeComparison(Reader* reader, int* sign) {
  const std::size_t begin = reader->at();
  while (IsAdverb(reader->word())) reader->Skip();
  *sign = ComparisonOf(reader->word());
  if (*sign != 0) {
    reader->Skip();
    if (reader->Take({"in"})) reader->Take({"size"});
    if (reader->Take({"than"})) return true;
  } else if (reader->Take({"as"})) {
    if (reader->Take({"big", "large", "small"}) && reader->Take({"as"})) return true;
  } else if (reader->Take({"the"}) && reader->Take({"same"})) {
    if (reader->Take({"size"}) && reader->Take({"as"})) return true;
  }
  reader->GoTo(begin);
  return false;
}

bool TakeDirection(Reader* reader, int* across, int* down) {
  const std::size_t before = reader->at();
  while (IsAdverb(reader->word())) reader->Skip();
  *across = *down = 0;
  if (IsOneOf(reader->word(), {"higher", "lower"})) {
    *down = reader->word() == "higher" ? -1 : 1;
    reader->Skip();
    reader->Take({"up", "down"});
    if (reader->Take({"than"})) return true;
    reader->GoTo(before);
    return false;
  }
  reader->Take({"further", "farther"});
  if (reader->Take({"to", "on", "at"})) reader->Take({"the"});
  const bool upright = IsOneOf(reader->word(1), {"above", "below"});  // "right above"
  if (reader->Take({"left"})) *across = -1;
  if (*across == 0 && reader->Take({"right"}) && !upright) *across = 1;
  if (*across != 0 && reader->Take({"of", "than"})) return true;
  if (*across == 0 && reader->Take({"above"})) *down = -1;
  if (*across + *down == 0 && reader->Take({"below", "under", "beneath", "underneath"})) *down = 1;
  if (*across == 0 && *down != 0) return true;
  reader->GoTo(before);
  return false;
}

bool IsWritten(std::string_view word) { return IndexOf(scenes::kWords, word) != kAny; }

bool Denies(Words words) {
  return std::any_of(words.begin(), words.end(), [](const std::string& word) {
    return IsOneOf(word, {"no", "not", "none", "neither", "nor", "nothing", "without", "missing",
                          "absent", "lacks", "lack", "free"}) ||
           absl::EndsWith(word, "n't");
  });
}

bool Supposes(Words words) {
  return HasOneOf(words, {"would", "if", "were", "could", "suppose", "imagine", "might"});
}

bool AsksOfWhatIsNot(Words asked) {
  return Supposes(asked) && HasOneOf(asked, {"if", "suppose", "imagine"}) &&
         HasOneOf(asked, {"would", "were", "could", "might"});
}

bool StatesWhatIs(Words words) {
  return words.size() > 1 && words[0] == "there" && IsVerb(words[1]) &&
         !HasOneOf(words, {"then", "left", "remain", "remains", "remaining", "now", "after",
                           "still", "would", "only"});
}

bool SpeaksOfAPart(Words words) {
  return HasOneOf(words, {"left", "right", "top", "bottom", "middle", "side", "row", "column",
                          "above", "below"});
}

bool Narrows(const std::string& word) {
  return IsOneOf(word, {"that",  "which", "whose",   "who",       "with",  "without", "of",
                        "other", "more",  "fewer",   "less",      "than",  "another", "only",
                        "just",  "same",  "exactly", "different", "apart", "besides", "beside",
                        "next",  "near",  "close",   "between"});
}

std::optional<Spoken> CountedIn(Words asked) {
  const auto many = std::find_if(asked.begin(), asked.end(), [](const std::string& word) {
    return IsOneOf(word, {"many", "count"});
  });
  Reader reader(asked.subspan(static_cast<std::size_t>(many - asked.begin())));
  reader.Skip();
  Spoken of;
  const auto take = [&of](int value, int* to) {
    if (value == kAny) return false;
    const bool is_first = *to == kAny;
    *to = value;
    return is_first;
  };
  for (; !reader.at_end(); reader.Skip()) {
    const std::string& word = reader.word();
    if (take(SizeOf(word), &of.size) || take(ColourOf(word), &of.colour)) continue;
    if (take(ShapeOf(word), &of.shape) || IsThing(word) || IsVerb(word)) continue;
    if (!IsOneOf(word, {"of",    "the",     "all",   "these",      "there",   "do",   "does",
                        "you",   "we",      "i",     "see",        "in",      "this", "picture",
                        "image", "scene",   "have",  "has",        "contain", "show", "it",
                        "shown", "visible", "total", "altogether", "here",    "find"})) {
      return std::nullopt;
    }
  }
  return of;
}

}  // namespace llava::training::spoken
