#include "training/generate/scene_truth.h"

#include <algorithm>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_split.h"
#include "training/generate/scene_claims.h"
#include "training/generate/scene_facts.h"
#include "training/generate/scene_words.h"

namespace llava::training {
namespace spoken {
namespace {

constexpr std::size_t kShort = 3;  // words of an answer that is no sentence

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
  while (IsAdverb(reader->word())) reader->Skip();
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

// Between a place and its thing: "is", "there are two", "you can see the".
bool TakePresenting(Reader* reader) {
  bool presents = false;
  while (IsVerb(reader->word()) ||
         IsOneOf(reader->word(), {"there", "there's", "you", "we", "one", "i", "see", "find",
                                  "spot", "notice", "observe"})) {
    reader->Skip();
    presents = true;
  }
  while (reader->Take({"a", "an", "the", "only", "just"}) || NumberOf(reader->word()) > 0) {
    if (NumberOf(reader->word()) > 0) reader->Skip();
  }
  return presents;
}

// "On the left is a red circle", "left of the square is a circle": nothing when that is not said.
std::optional<bool> PlacedBeforeIsSo(const Truth& truth, Words words, Reader* reader) {
  const std::size_t begin = reader->at();
  const bool starts =
      begin == 0 || IsOneOf(words[begin - 1], {"and", "while", "but", "whereas", "also", "then"});
  if (!truth.knows_places || !starts) return std::nullopt;
  Spoken place;
  std::optional<Spoken> other;
  int across = 0;
  int down = 0;
  if (!reader->TakePlace(&place)) {
    if (reader->Take({"on", "at"})) reader->Take({"the"});
    if (TakeDirection(reader, &across, &down)) {
      reader->Take({"the", "a"});
      other = reader->TakeThing();
    }
  }
  const bool placed = place.has_place() || other.has_value();
  std::optional<Spoken> thing;
  if (placed && TakePresenting(reader)) thing = reader->TakeThing();
  if (!thing.has_value()) {
    reader->GoTo(begin);
    return std::nullopt;
  }
  if (other.has_value()) return StandsSo(truth, *thing, *other, across, down);
  thing->row = place.row;
  thing->column = place.column;
  return IsSo(truth, *thing);
}

// "The biggest shape is the red circle": nothing when that is not said.
std::optional<bool> ExtremeBeforeIsSo(const Truth& truth, Reader* reader) {
  const int sign = ComparisonOf(reader->word());
  if (sign == 0 || !IsThing(reader->word(1)) || !IsVerb(reader->word(2))) return std::nullopt;
  Reader ahead = *reader;
  ahead.GoTo(reader->at() + 3);
  ahead.Take({"the", "a"});
  const std::optional<Spoken> thing = ahead.TakeThing();
  if (!thing.has_value()) return std::nullopt;
  reader->GoTo(ahead.at());
  return IsExtreme(truth, *thing, sign);
}

// Behind a thing: "left of the square", "bigger than the square", "the biggest of all". True where
// nothing of this is said.
bool RelationIsSo(const Truth& truth, const Spoken& thing, Reader* reader) {
  int across = 0;
  int down = 0;
  int sign = 0;
  const bool stands = truth.knows_places && TakeDirection(reader, &across, &down);
  if (stands || TakeComparison(reader, &sign)) {
    reader->Take({"the", "a"});
    const std::optional<Spoken> other = reader->TakeThing();
    if (!other.has_value()) return true;
    return stands ? StandsSo(truth, thing, *other, across, down)
                  : ComparesSo(truth, thing, *other, sign);
  }
  if (reader->word() != "the" || ComparisonOf(reader->word(1)) == 0) return true;
  const std::string& behind = reader->word(2);  // not "the biggest circle", which is one of several
  if (!behind.empty() && !IsThing(behind) && !IsOneOf(behind, {"of", "in", "and"})) return true;
  return IsExtreme(truth, thing, ComparisonOf(reader->word(1)));
}

// Things, what is said of them, and colours that nothing has.
bool ThingsAreSo(const Truth& truth, Words words, bool is_question) {
  for (Reader reader(words); !reader.at_end();) {
    std::optional<bool> before = PlacedBeforeIsSo(truth, words, &reader);
    if (!before.has_value()) before = ExtremeBeforeIsSo(truth, &reader);
    if (before.has_value()) {
      if (!*before) return false;
      continue;
    }
    std::optional<Spoken> thing = reader.TakeThing();
    if (!thing.has_value()) {
      if (ColourOf(reader.word()) != kAny && !IsSo(truth, {.colour = ColourOf(reader.word())})) {
        return false;
      }
      reader.Skip();
      continue;
    }
    TakeRest(&reader, is_question, &*thing);
    if (!IsSo(truth, *thing) || !RelationIsSo(truth, *thing, &reader)) return false;
  }
  return true;
}

// "The circle is red", "there is a red circle", as statements that are read whole and that the
// truth confirms. False also where something in them is not understood.
bool IsSurelySo(const Truth& truth, Words words) {
  const bool exists = words.size() > 2 && words[0] == "there";
  Reader reader(exists ? words.subspan(2) : words);
  while (reader.Take({"a", "an", "any", "the"})) {
  }
  std::optional<Spoken> thing = reader.TakeThing();
  if (!thing.has_value() || (!exists && Count(truth, *thing) != 1)) return false;
  const std::size_t subject = reader.at();
  TakeRest(&reader, /*without_verb=*/true, &*thing);
  if (thing->has_place() && !truth.knows_places) return false;
  const std::size_t rest = reader.at();
  if (!RelationIsSo(truth, *thing, &reader)) return false;
  if (!exists && reader.at() == subject) return false;
  // "Left of the square" is so of one square, and may not be of another; sides have no sharp end.
  if (reader.at() > rest && truth.things.size() > 2) return false;
  if (std::max(thing->row, thing->column) >= kNotFirst) return false;
  if (thing->has_place()) {  // what is at the top left may be said not to be at the top
    if (thing->row == kAny) thing->row = kMiddle;
    if (thing->column == kAny) thing->column = kMiddle;
  }
  if (!exists && reader.at() == rest && IsVerb(words[rest - 1])) return false;
  while (reader.Take({"in", "the", "this", "picture", "image", "here"})) {
  }
  return reader.at_end() && IsSo(truth, *thing);
}

// "Two shapes are visible", "two circles are red", of all that there are.
bool FirstCountIsSo(const Truth& truth, Words words) {
  Reader reader(words);
  const int number = NumberOf(reader.word());
  if (number < 2 || std::any_of(words.begin(), words.end(), Narrows)) return true;
  reader.Skip();
  reader.Take({"simple", "geometric", "basic", "distinct", "plain"});
  Spoken of;
  reader.TakeLook(&of);
  of.shape = ShapeOf(reader.word());
  if (of.shape == kAny && !IsThing(reader.word())) return true;
  reader.Skip();
  if (!reader.Take({"are"})) return true;
  while (IsAdverb(reader.word())) reader.Skip();
  if (!reader.Take({"visible", "present", "shown", "arranged", "displayed", "drawn", "placed"})) {
    const std::size_t look = reader.at();
    reader.TakeLook(&of);
    if (reader.at() == look || !reader.at_end()) return true;
  }
  return CountFits(truth, number, of, words);
}

bool CountsAreSo(const Truth& truth, Words words) {
  if (SpeaksOfAPart(words)) return true;
  const bool of_all = HasOneOf(words, {"there", "shows", "show", "contains", "has", "see"});
  if (!of_all) return FirstCountIsSo(truth, words);
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
    const std::string& next = behind.word(1);  // "one shape has three corners"
    if (!counts || Narrows(next) || IsOneOf(next, {"has", "have"})) continue;
    if (!CountFits(truth, number, of, words)) return false;
  }
  return true;
}

// "The circle is not red", "there isn't a circle", and "there is no red circle".
bool DenialIsSo(const Truth& truth, Words words) {
  std::vector<std::string> said(words.begin(), words.end());
  for (std::string& word : said) {
    if (word == "isn't" || word == "aren't") word = "is";
  }
  std::erase(said, "not");
  const bool says_not = said != std::vector<std::string>(words.begin(), words.end());
  if (says_not && !Denies(said) && IsSurelySo(truth, said)) return false;
  return MissingIsSo(truth, words);
}

// "No, all are small" says behind "no" what it says without.
std::string_view BehindYesOrNo(std::string_view sentence) {
  const std::size_t comma = sentence.find(',');
  const std::vector<std::string> first = Lower(WordsOf(sentence.substr(0, comma)));
  const bool answers = comma != sentence.npos && first.size() == 1;
  return answers && IsOneOf(first[0], {"yes", "no"}) ? sentence.substr(comma) : sentence;
}

bool SentenceIsSo(const Truth& truth, std::string_view sentence) {
  const std::vector<std::string> words = WordsOf(BehindYesOrNo(sentence));
  const std::vector<std::string> lower = Lower(words);
  if (Supposes(lower)) return true;
  if (!AllAreSo(truth, lower).value_or(true)) return false;
  if (Denies(lower)) return DenialIsSo(truth, lower);
  return AlikeIsSo(truth, lower).value_or(true) &&
         ThingsAreSo(truth, lower, /*is_question=*/false) && CountsAreSo(truth, lower) &&
         TextIsSo(truth, words);
}

// "Is there a red circle?" "Yes." says what the question says.
bool YesOrNoIsSo(const Truth& truth, Words asked, Words answer) {
  const bool yes = IsOneOf(answer[0], {"yes", "yep", "yeah", "indeed", "correct"});
  const bool no = IsOneOf(answer[0], {"no", "nope"});
  if ((!yes && !no) || Supposes(asked) || Denies(asked)) return true;
  if (!IsOneOf(asked[0], {"is", "are", "does", "do", "can"}) || HasOneOf(asked, {"or"})) {
    return true;
  }
  if (const std::optional<bool> alike = AlikeIsSo(truth, asked)) return *alike == yes;
  if (yes && !ThingsAreSo(truth, asked, /*is_question=*/true)) return false;
  const bool is_there = asked.size() > 1 && asked[1] == "there";
  // "No, it is at the top" may be about a word of the question.
  if (no && !SpeaksOfAPart(answer) && IsOneOf(asked[0], {"is", "are"})) {
    std::vector<std::string> statement(asked.begin() + 1, asked.end());
    if (is_there) statement.insert(statement.begin() + 1, "is");
    if (IsSurelySo(truth, statement)) return false;
  }
  const bool of_picture = asked.size() > 4 && IsOneOf(asked[2], {"picture", "image", "scene"}) &&
                          IsOneOf(asked[3], {"contain", "show", "have"}) &&
                          IsOneOf(asked[4], {"a", "an", "any"});
  const bool of_sight = HasOneOf(asked, {"see"}) || IsOneOf(asked.back(), {"seen", "visible"});
  if (!is_there && !of_picture && !of_sight) return true;
  if (std::any_of(asked.begin(), asked.end(), Narrows)) return true;
  const std::vector<Spoken> things = ThingsIn(asked);
  const int number = OnlyOne(asked, NumberOf);
  if (no && number != kAny && things.size() == 1) {  // "Are there two red circles?" "No, three."
    return SpeaksOfAPart(asked) || !CountFits(truth, number, things[0], asked);
  }
  const std::optional<bool> text = SpokenTextIsThere(truth, asked);
  if (things.empty() && text.has_value()) return SpeaksOfAPart(asked) || *text == yes;
  return yes || things.size() != 1 || SpeaksOfAPart(asked) || !IsSo(truth, things[0]);
}

// An answer of a word or two says something together with its question.
bool ShortAnswerIsSo(const Truth& truth, Words asked, Words answer) {
  if (HasOneOf(asked, {"many", "count"})) {
    const int number = OnlyOne(answer, NumberOf);
    const std::optional<Spoken> of = CountedIn(asked);
    return number == kAny || !of.has_value() || CountFits(truth, number, *of, asked);
  }
  const std::vector<Spoken> things = ThingsIn(asked);
  if (things.empty() && asked[0] != "where" &&
      HasOneOf(asked, {"digit", "number", "word", "say", "written", "printed"})) {
    const std::string text = absl::AsciiStrToUpper(answer.back());
    const bool is_text = text.size() == 1 || IsWritten(text);
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

// "What is on the left?", "what is left of the square?", "which is bigger, the circle or the
// square?" "A circle."
bool NamedThingIsSo(const Truth& truth, Words asked, Words answer) {
  const std::vector<Spoken> named = ThingsIn(answer);
  if (!IsOneOf(asked[0], {"what", "which"}) || named.size() != 1 || named[0].has_place()) {
    return true;
  }
  Spoken thing = named[0];
  Reader reader(asked.subspan(1));
  while (IsVerb(reader.word()) || IsThing(reader.word()) || reader.word() == "shown") reader.Skip();
  int across = 0;
  int down = 0;
  if (truth.knows_places && reader.TakePlace(&thing)) return !reader.at_end() || IsSo(truth, thing);
  if (truth.knows_places && TakeDirection(&reader, &across, &down)) {
    reader.Take({"the", "a"});
    const std::optional<Spoken> other = reader.TakeThing();
    const bool whole = other.has_value() && reader.at_end();
    return !whole || StandsSo(truth, thing, *other, across, down);
  }
  const int sign = OnlyOne(asked, [](const std::string& word) {
    const int of = ComparisonOf(word);
    return of == 0 ? kAny : of + 1;
  });
  const std::vector<Spoken> two = ThingsIn(asked);
  if (sign == kAny || two.size() != 2 || Fits(thing, two[0]) == Fits(thing, two[1])) return true;
  const bool first = Fits(thing, two[0]);
  return ComparesSo(truth, two[first ? 0 : 1], two[first ? 1 : 0], sign - 1);
}

bool AnswerIsSo(const Truth& truth, const std::string& question, const std::string& answer) {
  const std::vector<std::string> asked = Lower(WordsOf(question));
  const std::vector<std::string> words = Lower(WordsOf(answer));
  if (asked.empty() || words.empty()) return true;
  if (!YesOrNoIsSo(truth, asked, words)) return false;
  const bool is_short = words.size() <= kShort || (asked[0] == "where" && ThingsIn(words).empty());
  if (!is_short || Supposes(asked) || Denies(asked) || Denies(words) || words[0] == "yes") {
    return true;
  }
  if (const std::optional<bool> either = EitherIsSo(truth, asked, words)) return *either;
  if (!NamedThingIsSo(truth, asked, words)) return false;
  // "What is left of the circle?" "A square." is about another thing than the one in the question.
  const bool relates = HasOneOf(asked, {"of", "above", "below", "under", "beneath", "than"});
  const bool counts = HasOneOf(asked, {"many", "count"});
  return (relates && !counts) || ShortAnswerIsSo(truth, asked, words);
}

}  // namespace
}  // namespace spoken

void AcceptTrue(const PictureContext& context, ParsedReply* reply) {
  if (!reply->rejected.empty()) return;
  const spoken::Truth truth = spoken::TruthOf(context);
  for (const auto& [question, answer] : reply->dialogue) {
    const std::vector<std::string> asked = spoken::Lower(spoken::WordsOf(question));
    const bool of_what_is_not = spoken::AsksOfWhatIsNot(asked);
    bool is_so = of_what_is_not || spoken::AnswerIsSo(truth, question, answer);
    for (const absl::string_view part : absl::StrSplit(answer, absl::ByAnyChar(".!?;\n"))) {
      const std::string_view sentence(part.data(), part.size());
      const std::vector<std::string> said = spoken::Lower(spoken::WordsOf(sentence));
      if (of_what_is_not && !spoken::StatesWhatIs(said)) continue;
      const bool is_short = said.size() <= spoken::kShort;
      if (is_short && spoken::Denies(asked)) continue;  // "Which colour is missing?" "Red."
      is_so = is_so && spoken::SentenceIsSo(truth, sentence);
    }
    if (!is_so) reply->rejected = "untrue";
  }
}

}  // namespace llava::training
