#include "training/generate/scene_claims.h"

#include <algorithm>
#include <iterator>
#include <string>
#include <vector>

#include "absl/strings/ascii.h"

namespace llava::training::spoken {
namespace {

using Attribute = int Spoken::*;

// Those of which something is said, and whether it is denied of them.
struct Group {
  std::vector<Spoken> things;
  bool denied = false;
};

// "All of the shapes", "both the red cross and the circle", "none of them": nothing for others.
std::optional<Group> TakeGroup(const Truth& truth, Reader* reader) {
  const std::string quantifier = reader->word();
  if (!reader->Take({"all", "both", "every", "each", "none", "neither", "nothing", "no"})) {
    return std::nullopt;
  }
  while (reader->Take({"of", "the", "these"}) || NumberOf(reader->word()) > 0) {
    if (NumberOf(reader->word()) > 0) reader->Skip();
  }
  std::optional<Spoken> one = reader->TakeThing();
  Spoken other;
  const bool open = !one.has_value();
  if (open) {
    one = Spoken{};
    const bool named = IsThing(reader->word()) && reader->word() != "one";
    if (named) reader->Skip();
    const bool of_two_alone = truth.things.size() == 2 && IsOneOf(quantifier, {"both", "neither"});
    const bool alone = of_two_alone || IsOneOf(quantifier, {"none", "nothing"});
    if (!named && !alone) return std::nullopt;
  }
  const bool two = !open && quantifier == "both" && reader->word() == "and";
  if (two) {
    reader->Skip();
    reader->Take({"the"});
    const std::optional<Spoken> second = reader->TakeThing();
    if (!second.has_value()) return std::nullopt;
    other = *second;
  }
  reader->TakeInPicture();
  Group group{{}, IsOneOf(quantifier, {"none", "neither", "nothing", "no"})};
  std::copy_if(truth.things.begin(), truth.things.end(), std::back_inserter(group.things),
               [&](const Spoken& is) { return Fits(*one, is) || (two && Fits(other, is)); });
  const bool of_two = IsOneOf(quantifier, {"both", "neither"});
  if (of_two ? group.things.size() != 2 : group.things.empty()) return std::nullopt;
  return group;
}

// A sentence may begin at `at`.
bool Begins(Words words, std::size_t at) {
  return at == 0 ||
         IsOneOf(words[at - 1], {"and", "but", "while", "because", "since", "as", "so", "that"});
}

Attribute AttributeOf(const std::string& word) {
  if (IsOneOf(word, {"colour", "color", "colours", "colors"})) return &Spoken::colour;
  if (IsOneOf(word, {"size", "sizes"})) return &Spoken::size;
  return IsOneOf(word, {"shape", "shapes", "form"}) ? &Spoken::shape : nullptr;
}

// "the same colour", "different shapes", "differ in size", "equally big": where it begins.
struct Likeness {
  std::size_t at = 0;
  Attribute attribute = nullptr;
  bool alike = false;
};

std::optional<Likeness> LikenessIn(Words words) {
  for (std::size_t i = 0; i + 1 < words.size(); ++i) {
    const std::string& word = words[i];
    const bool differ = IsOneOf(word, {"differ", "vary"}) && words[i + 1] == "in";
    const std::size_t noun = i + (differ ? 2 : 1);
    if (noun < words.size() && (differ || IsOneOf(word, {"same", "different"}))) {
      const Attribute attribute = AttributeOf(words[noun]);
      const bool more = noun + 1 < words.size() && IsOneOf(words[noun + 1], {"as", "from", "than"});
      if (attribute != nullptr && !more) return Likeness{i, attribute, word == "same"};
    }
    if (word == "equally" && SizeOf(words[i + 1]) != kAny) {
      return Likeness{i, &Spoken::size, true};
    }
  }
  return std::nullopt;
}

// The two things that are named, each of which is one alone; or all that is meant.
std::vector<Spoken> Compared(const Truth& truth, Words words) {
  const std::vector<Spoken> named = ThingsIn(words);
  if (named.size() == 2) {
    std::vector<Spoken> things;
    for (const Spoken& one : named) {
      if (Count(truth, one) != 1) return {};
      things.push_back(*std::find_if(truth.things.begin(), truth.things.end(),
                                     [&](const Spoken& is) { return Fits(one, is); }));
    }
    return things;
  }
  Reader reader(words);
  reader.Take({"are", "do", "have"});
  const bool of_all = reader.word() == "the" && IsThing(reader.word(2)) &&
                      NumberOf(reader.word(1)) == static_cast<int>(truth.things.size());
  if (of_all && named.empty()) return truth.things;
  const std::optional<Group> group = TakeGroup(truth, &reader);
  return named.empty() && group.has_value() && !group->denied ? group->things
                                                              : std::vector<Spoken>();
}

// What a word that names a text means: 0 any, 1 a digit, 2 a word; kAny: none.
int TextKind(const std::string& word) {
  if (IsOneOf(word, {"text", "texts", "writing"})) return 0;
  if (IsOneOf(word, {"digit", "digits", "number", "numbers"})) return 1;
  return IsOneOf(word, {"word", "words", "letter", "letters"}) ? 2 : kAny;
}

bool HasText(const Truth& truth, int kind) {
  if (kind == 0) return !truth.text.empty();
  return kind == 1 ? truth.text.size() == 1 : truth.text.size() > 1;
}

// "no", "without any", "not contain a": how many words stand at `at` before what is not there.
std::size_t DenialAt(Words words, std::size_t at) {
  if (words[at] == "no") return 1;
  const std::size_t next = at + 1;
  if (words[at] == "without") {
    return next < words.size() && IsOneOf(words[next], {"any", "a", "an"}) ? 2 : 1;
  }
  const bool seen = IsOneOf(words[at], {"contain", "show", "have", "see", "include", "feature"});
  if (!seen || at == 0 || !Denies(words.subspan(at - 1, 1)) || next == words.size()) return 0;
  if (words[next] == "anything") return 1;
  return IsOneOf(words[next], {"any", "a", "an"}) ? 2 : 0;
}

// The first words name a text, all kinds of it that are named together.
Words TextNamedFirst(Words words) {
  std::size_t count = 0;
  while (count < words.size() &&
         (TextKind(words[count]) != kAny || IsOneOf(words[count], {"or", "and", "nor"}))) {
    ++count;
  }
  return words.first(count);
}

// "The word CAT is in the top row", "the digit is at the left": `reader` is behind what is named.
bool TextStandsSo(const Truth& truth, Reader reader) {
  while (IsVerb(reader.word()) || IsAdverb(reader.word()) ||
         IsOneOf(reader.word(), {"written", "printed", "displayed", "shown"})) {
    reader.Skip();
  }
  Spoken place;
  if (!reader.TakePlace(&place) || !truth.text_place.has_place()) return true;
  return Fits(place, truth.text_place);
}

}  // namespace

std::optional<bool> AllAreSo(const Truth& truth, Words words) {
  for (std::size_t i = 0; i < words.size(); ++i) {
    Reader reader(words);
    reader.GoTo(i);
    if (!Begins(words, i)) continue;
    const std::optional<Group> group = TakeGroup(truth, &reader);
    if (!group.has_value() || !reader.Take({"is", "are"})) continue;
    while (IsAdverb(reader.word())) reader.Skip();
    reader.Take({"a", "an"});
    const std::optional<Spoken> same = reader.TakeThing();
    Spoken look = same.value_or(Spoken{});
    if (!same.has_value()) reader.TakeLook(&look);
    if (look.is_open() || IsOneOf(reader.word(), {"and", "or", "except", "but"})) continue;
    const auto fits = [&](const Spoken& is) { return Fits(look, is); };
    return group->denied ? std::none_of(group->things.begin(), group->things.end(), fits)
                         : std::all_of(group->things.begin(), group->things.end(), fits);
  }
  return std::nullopt;
}

std::optional<bool> AlikeIsSo(const Truth& truth, Words words) {
  const std::optional<Likeness> said = LikenessIn(words);
  if (!said.has_value() || Denies(words)) return std::nullopt;
  const std::vector<Spoken> things = Compared(truth, words.subspan(0, said->at));
  if (things.size() < 2) return std::nullopt;
  bool all_alike = true;
  bool any_alike = false;
  for (std::size_t i = 0; i < things.size(); ++i) {
    for (std::size_t j = i + 1; j < things.size(); ++j) {
      const int a = things[i].*said->attribute;
      const int b = things[j].*said->attribute;
      if (a == kAny || b == kAny) return std::nullopt;
      all_alike = all_alike && a == b;
      any_alike = any_alike || a == b;
    }
  }
  return said->alike ? all_alike : !any_alike;
}

std::optional<bool> EitherIsSo(const Truth& truth, Words asked, Words answer) {
  const std::vector<Spoken> two = ThingsIn(asked);
  if (!HasOneOf(asked, {"or"}) || two.size() != 2) return std::nullopt;
  if (HasOneOf(asked, {"bigger", "larger"}) && HasOneOf(asked, {"smaller"})) {
    const int sign = OnlyOne(answer, [](const std::string& word) {
      const int of = ComparisonOf(word);
      return of == 0 ? kAny : of + 1;
    });
    if (sign == kAny) return std::nullopt;
    return ComparesSo(truth, two[0], two[1], sign - 1);
  }
  const bool across = HasOneOf(asked, {"left"}) && HasOneOf(asked, {"right"});
  const bool down = HasOneOf(asked, {"above", "higher"}) && HasOneOf(asked, {"below", "lower"});
  const std::string& said = answer.back();
  if (!truth.knows_places || across == down) return std::nullopt;
  if (across && IsOneOf(said, {"left", "right"})) {
    return StandsSo(truth, two[0], two[1], said == "left" ? -1 : 1, 0);
  }
  if (down && IsOneOf(said, {"above", "higher", "below", "lower"})) {
    return StandsSo(truth, two[0], two[1], 0, IsOneOf(said, {"above", "higher"}) ? -1 : 1);
  }
  return std::nullopt;
}

std::optional<bool> SpokenTextIsThere(const Truth& truth, Words words) {
  std::optional<bool> there;
  for (const std::string& word : words) {
    const int kind = TextKind(word);
    if (kind != kAny) there = there.value_or(false) || HasText(truth, kind);
  }
  return there;
}

bool MissingIsSo(const Truth& truth, Words words) {
  const bool of_picture =
      words[0] == "it" || HasOneOf(words, {"there", "picture", "image", "scene", "i", "you", "we",
                                           "one", "can", "appear", "present", "visible", "seen"});
  if (SpeaksOfAPart(words) || !of_picture) return true;
  for (std::size_t i = 0; i < words.size(); ++i) {
    const std::size_t denial = DenialAt(words, i);
    if (denial == 0) continue;
    const Words behind = words.subspan(i + denial);
    const Words text = TextNamedFirst(behind);
    Reader reader(behind);
    reader.GoTo(text.size());
    const bool text_is_there = SpokenTextIsThere(truth, text).value_or(false);
    const std::optional<Spoken> thing = text.empty() ? reader.TakeThing() : std::nullopt;
    const std::string& rest = reader.word();
    if (Narrows(rest) || ComparisonOf(rest) != 0 || rest == "as") continue;
    if (text_is_there || (thing.has_value() && IsSo(truth, *thing))) return false;
  }
  return true;
}

bool TextIsSo(const Truth& truth, Words words) {
  const std::vector<std::string> lower = Lower(words);
  for (std::size_t i = 0; i < words.size(); ++i) {
    const std::string& before = i == 0 ? "" : lower[i - 1];
    const std::string upper = absl::AsciiStrToUpper(words[i]);
    const bool behind = IsOneOf(before, {"word", "says", "reads", "text", "say", "letters"});
    const bool is_word = IsWritten(words[i]) || (behind && IsWritten(upper));
    const bool is_digit = words[i].size() == 1 && NumberOf(words[i]) != kAny &&
                          (behind || IsOneOf(before, {"digit", "number"}));
    if ((is_word || is_digit) && upper != truth.text) return false;
    const bool named = is_word || is_digit || (TextKind(lower[i]) != kAny && before == "the");
    Reader reader(lower);
    reader.GoTo(i + 1);
    if (named && !TextStandsSo(truth, reader)) return false;
  }
  // "There is some text."
  Reader reader(lower);
  if (!reader.Take({"there"})) return true;
  while (IsVerb(reader.word()) ||
         IsOneOf(reader.word(), {"a", "an", "some", "one", "piece", "of"})) {
    reader.Skip();
  }
  const int kind = reader.at_end() ? kAny : TextKind(reader.word());
  return kind == kAny || HasText(truth, kind) || IsOneOf(reader.word(1), {"of"});
}

}  // namespace llava::training::spoken
