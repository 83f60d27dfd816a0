#include "training/generate/scene_facts.h"

#include <algorithm>
#include <optional>
#include <utility>

namespace llava::training::spoken {
namespace {

bool Fits(int said, int is) {
  if (said == kNotLast) return is < 2;
  if (said == kNotFirst) return is == kAny || is > 0;
  return said == kAny || is == kAny || said == is;
}

// "the word CAT in the bottom row", "the digit 7 at the top": one that stands alone stands in the
// middle of the top, a word is as wide as the picture.
void TakeTextPlace(Words words, Spoken* place) {
  for (Reader reader(words); !reader.at_end(); reader.Skip()) {
    if (!IsOneOf(reader.word(), {"word", "digit"})) continue;
    const bool is_digit = reader.word() == "digit";
    reader.GoTo(reader.at() + 2);
    if (IsOneOf(reader.word(), {"in"}) && reader.word(2) == "middle" && reader.word(3) == "row") {
      place->row = kMiddle;
    } else if (reader.TakePlace(place) && is_digit) {
      if (place->row == kAny) place->row = kMiddle;
      if (place->column == kAny) place->column = kMiddle;
    }
    return;
  }
}

}  // namespace

bool Fits(const Spoken& said, const Spoken& is) {
  return Fits(said.size, is.size) && Fits(said.colour, is.colour) && Fits(said.shape, is.shape) &&
         Fits(said.row, is.row) && Fits(said.column, is.column);
}

int Count(const Truth& truth, const Spoken& said) {
  return static_cast<int>(std::count_if(truth.things.begin(), truth.things.end(),
                                        [&](const Spoken& is) { return Fits(said, is); }));
}

bool IsSo(const Truth& truth, const Spoken& said) { return Count(truth, said) > 0; }

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
    const std::vector<std::string> words = Lower(WordsOf(caption));
    for (const Spoken& thing : ThingsIn(words)) told.push_back(thing);
    TakeTextPlace(words, &truth.text_place);
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

bool CountFits(const Truth& truth, int number, const Spoken& of, Words said) {
  const bool with_text = !truth.text.empty() && of.is_open() &&
                         HasOneOf(said, {"object", "objects", "thing", "things", "items"});
  const int count = Count(truth, of);
  return number == count || (with_text && number == count + 1);
}

bool StandsSo(const Truth& truth, const Spoken& one, const Spoken& other, int across, int down) {
  for (const Spoken& a : truth.things) {
    for (const Spoken& b : truth.things) {
      if (!Fits(one, a) || !Fits(other, b)) continue;
      if ((a.column - b.column) * across > 0 || (a.row - b.row) * down > 0) return true;
    }
  }
  return false;
}

bool ComparesSo(const Truth& truth, const Spoken& one, const Spoken& other, int sign) {
  for (const Spoken& a : truth.things) {
    for (const Spoken& b : truth.things) {
      if (&a == &b || !Fits(one, a) || !Fits(other, b)) continue;
      if (a.size == kAny || b.size == kAny) return true;
      const int difference = a.size == b.size ? 0 : (a.size > b.size ? 1 : -1);
      if (difference == sign) return true;
    }
  }
  return false;
}

bool IsExtreme(const Truth& truth, const Spoken& said, int sign) {
  return std::any_of(truth.things.begin(), truth.things.end(), [&](const Spoken& a) {
    return Fits(said, a) &&
           std::none_of(truth.things.begin(), truth.things.end(), [&](const Spoken& b) {
             return a.size != kAny && b.size != kAny && (b.size - a.size) * sign > 0;
           });
  });
}

}  // namespace llava::training::spoken
