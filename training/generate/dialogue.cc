#include "training/generate/dialogue.h"

#include <algorithm>
#include <array>
#include <iterator>
#include <set>
#include <string_view>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "base/utf8_stream.h"
#include "training/generate/scene_words.h"

namespace llava::training {
namespace {

constexpr std::size_t kWordsOfALanguage = 8;  // fewer say nothing about the language
constexpr double kMostForeignLetters = 0.1;
constexpr std::size_t kWordsOfALeak = 3;
constexpr double kShareOfALeak = 0.9;
constexpr int kCoordinates = 2;  // numbers like 0.25 in a row

std::string Strip(const std::string& text) { return std::string(absl::StripAsciiWhitespace(text)); }

std::vector<std::string> Words(const std::string& text) {
  return spoken::WordsOf(absl::AsciiStrToLower(text));
}

// "Question:", "Question 2:", "Answer: text": the text behind it, when `line` is such a mark.
bool IsMark(const std::string& line, const std::string& name, std::string* rest, bool* numbered) {
  if (!absl::StartsWith(line, name)) return false;
  std::size_t at = name.size();
  while (at < line.size() && (line[at] == ' ' || absl::ascii_isdigit(line[at]))) ++at;
  if (at >= line.size() || line[at] != ':') return false;
  *numbered = at > name.size();
  *rest = Strip(line.substr(at + 1));
  return true;
}

// The states of the format, one line at a time.
class DialogueReader {
 public:
  ParsedReply Read(const std::string& reply) {
    std::string text = reply;
    if (absl::StrContains(text, "\r\n")) Mend("crlf");
    text = absl::StrReplaceAll(text, {{"\r\n", "\n"}});
    for (const absl::string_view line : absl::StrSplit(Strip(text), '\n')) Take(std::string(line));
    Finish();
    return std::move(result_);
  }

 private:
  enum class State { kPreamble, kQuestion, kBetween, kAnswer, kAfter };

  void Mend(const char* what) { ++result_.mended[what]; }
  void Reject(const char* why) {
    if (result_.rejected.empty()) result_.rejected = why;
  }

  void Take(const std::string& line) {
    const std::string bare = Strip(line);
    if (absl::StartsWith(bare, "```")) return Mend("code_fence");
    if (bare == "===") return Separate();
    std::string rest;
    bool numbered = false;
    if (IsMark(bare, "Question", &rest, &numbered)) return Begin(State::kQuestion, rest, numbered);
    if (IsMark(bare, "Answer", &rest, &numbered)) return Begin(State::kAnswer, rest, numbered);
    if (state_ == State::kQuestion) absl::StrAppend(&question_, line, "\n");
    if (state_ == State::kAnswer) absl::StrAppend(&answer_, line, "\n");
    if (bare.empty()) return;
    if (state_ == State::kPreamble) Mend("preamble");
    if (state_ == State::kBetween || state_ == State::kAfter) Reject("odd_turns");
  }

  void Separate() {
    if (state_ == State::kQuestion) {
      state_ = State::kBetween;
    } else if (state_ == State::kAnswer) {
      Store();
      state_ = State::kAfter;
    } else if (state_ != State::kPreamble) {
      Reject("odd_turns");
    }
  }

  void Begin(State next, const std::string& rest, bool numbered) {
    if (numbered) Mend("numbered");
    if (!rest.empty()) Mend("inline");
    const bool fits = next == State::kQuestion
                          ? state_ == State::kPreamble || state_ == State::kAfter
                          : state_ == State::kBetween;
    if (!fits) Reject("odd_turns");
    state_ = next;
    (next == State::kQuestion ? question_ : answer_) = rest.empty() ? "" : rest + "\n";
  }

  void Store() {
    result_.dialogue.emplace_back(Strip(question_), Strip(answer_));
    question_.clear();
    answer_.clear();
  }

  void Finish() {
    if (state_ == State::kAnswer) {
      Store();
    } else if (state_ == State::kAfter) {
      Mend("trailing_separator");
    } else {
      Reject(state_ == State::kPreamble ? "no_question" : "truncated");
    }
  }

  State state_ = State::kPreamble;
  std::string question_, answer_;
  ParsedReply result_;
};

bool IsRefusal(const std::string& lower) {
  constexpr std::array<std::string_view, 7> kRefusals = {
      "i'm sorry",      "i am sorry",    "i cannot assist",
      "i can't assist", "i cannot help", "as an ai language model",
      "i am unable to"};
  return std::any_of(kRefusals.begin(), kRefusals.end(), [&](std::string_view refusal) {
    return absl::StrContains(lower, AbslView(refusal));
  });
}

// Numbers below one, one after the other, as in "(0.25, 0.5, 1.0, 0.75)".
bool HasCoordinates(const std::string& text) {
  int in_a_row = 0;
  for (const absl::string_view part : absl::StrSplit(text, absl::ByAnyChar(",;"))) {
    const std::string_view bare = StdView(absl::StripAsciiWhitespace(part));
    const std::size_t dot = bare.find("0.");
    const bool number =
        dot != bare.npos && dot + 2 < bare.size() &&
        absl::ascii_isdigit(static_cast<unsigned char>(bare[dot + 2])) &&
        (dot == 0 || !absl::ascii_isdigit(static_cast<unsigned char>(bare[dot - 1])));
    in_a_row = number ? in_a_row + 1 : 0;
    if (in_a_row >= kCoordinates) return true;
  }
  return false;
}

template <std::size_t n>
std::int64_t CountOf(const std::vector<std::string>& words,
                     const std::array<std::string_view, n>& wanted) {
  return std::count_if(words.begin(), words.end(), [&](const std::string& word) {
    return std::find(wanted.begin(), wanted.end(), word) != wanted.end();
  });
}

// How many words are English and nothing else: small ones, and those of which lists are made that
// have no small ones ("red circle, blue square").
std::int64_t EnglishWords(const std::vector<std::string>& words) {
  static constexpr std::array<std::string_view, 33> kSmall = {
      "the",  "a",    "is",   "are",   "of",    "and",   "to",   "it",  "on",   "with",  "this",
      "for",  "that", "be",   "there", "which", "what",  "how",  "why", "who",  "where", "when",
      "does", "you",  "your", "they",  "their", "these", "have", "not", "from", "many",  "its"};
  static constexpr std::array<std::string_view, 55> kPlain = {
      "red",      "blue",  "green",  "yellow", "purple", "brown",  "black",    "white",
      "grey",     "gray",  "circle", "square", "cross",  "big",    "small",    "tiny",
      "left",     "right", "bottom", "middle", "two",    "three",  "five",     "seven",
      "eight",    "nine",  "dog",    "cat",    "bird",   "horse",  "sheep",    "cow",
      "tree",     "grass", "snow",   "boat",   "bench",  "bottle", "bowl",     "cup",
      "fork",     "knife", "spoon",  "woman",  "people", "child",  "children", "street",
      "building", "house", "window", "bridge", "beach",  "shirt",  "shoes"};
  const std::int64_t plain = CountOf(words, kPlain);
  return CountOf(words, kSmall) + (plain > 1 ? plain : 0);  // one alone may be a chance
}

// By its letters and its words, of which others have some, too ("a", "on").
bool IsEnglish(const std::string& question, const std::string& answer) {
  static constexpr std::array<std::string_view, 60> kOther = {
      "der", "das", "und", "ist", "ein",  "eine", "einen", "einem", "einer", "nicht",
      "mit", "auf", "dem", "zu",  "sind", "von",  "le",    "la",    "les",   "un",
      "une", "des", "est", "et",  "dans", "sur",  "avec",  "il",    "elle",  "du",
      "qui", "pas", "el",  "los", "las",  "una",  "en",    "es",    "con",   "de",
      "del", "y",   "que", "por", "di",   "gli",  "che",   "sono",  "nel",   "um",
      "uma", "os",  "em",  "com", "het",  "een",  "van",   "och",   "som",   "jest"};
  double letters = 0;
  double foreign = 0;
  for (const char c : absl::StrCat(question, answer)) {
    const auto byte = static_cast<unsigned char>(c);
    foreign += byte >= 0xc3 ? 1 : 0;  // the first byte of a letter that is not ASCII
    letters += absl::ascii_isalpha(byte) || byte >= 0xc3 ? 1 : 0;
  }
  if (letters > 0 && foreign / letters > kMostForeignLetters) return false;
  const std::vector<std::string> said = Words(answer);
  if (CountOf(said, kOther) > EnglishWords(said)) return said.size() < kWordsOfALanguage;
  const std::vector<std::string> words = Words(absl::StrCat(question, " ", answer));
  if (words.size() < kWordsOfALanguage) return true;
  return EnglishWords(words) > CountOf(words, kOther);
}

// The question says already what its answer is.
bool Leaks(const std::string& question, const std::string& answer) {
  const std::vector<std::string> asked = Words(question);
  const std::vector<std::string> said = Words(answer);
  if (!said.empty() && (said[0] == "yes" || said[0] == "no")) return false;  // that is the answer
  const std::set<std::string> known(asked.begin(), asked.end());
  std::size_t content = 0;
  std::size_t given = 0;
  for (const std::string& word : said) {
    if (word.size() <= 3) continue;  // "yes", "the", "are"
    ++content;
    given += known.contains(word) ? 1 : 0;
  }
  return content >= kWordsOfALeak &&
         static_cast<double>(given) >= kShareOfALeak * static_cast<double>(content);
}

std::string WrongWith(const AcceptOptions& options, const std::string& question,
                      const std::string& answer) {
  if (question.empty() || std::ssize(answer) < options.min_answer_chars) return "too_short";
  if (std::ssize(answer) > options.max_answer_chars) return "too_long";
  const std::string both = absl::AsciiStrToLower(absl::StrCat(question, "\n", answer));
  if (IsRefusal(both)) return "refusal";
  if (absl::StrContains(both, "<image>")) return "mentions_source";  // it would stand for a picture
  for (const std::string& word : options.forbid) {
    if (absl::StrContains(both, absl::AsciiStrToLower(word))) return "mentions_source";
  }
  if (HasCoordinates(both)) return "coordinates";
  if (options.english && !IsEnglish(question, answer)) return "wrong_language";
  return Leaks(question, answer) ? "question_leaks_answer" : "";
}

}  // namespace

ParsedReply ParseDialogue(const std::string& reply) { return DialogueReader().Read(reply); }

ParsedReply ParseDescription(const std::string& reply, const std::string& question) {
  ParsedReply result;
  std::string text = reply;
  if (absl::StrContains(text, "\r\n")) {
    ++result.mended["crlf"];
    text = absl::StrReplaceAll(text, {{"\r\n", "\n"}});
  }
  result.dialogue = {{question, Strip(text)}};
  return result;
}

void Accept(const AcceptOptions& options, ParsedReply* reply) {
  if (!reply->rejected.empty()) return;
  if (std::ssize(reply->dialogue) < options.min_turns) reply->rejected = "too_few_turns";
  if (std::ssize(reply->dialogue) > options.max_turns) reply->rejected = "too_many_turns";
  for (const auto& [question, answer] : reply->dialogue) {
    if (reply->rejected.empty()) reply->rejected = WrongWith(options, question, answer);
  }
}

}  // namespace llava::training
