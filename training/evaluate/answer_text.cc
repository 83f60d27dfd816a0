#include "training/evaluate/answer_text.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <iterator>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "base/utf8_stream.h"

namespace llava::training {
namespace {

constexpr int kScienceQaOptions = 5;
constexpr int kMostFullStops = 32;  // the original hands a flag to a parameter that is a count
constexpr double kPeopleToAgree = 3;

// Written without one of their apostrophes, these words get it back. Sorted.
constexpr std::array<std::string_view, 92> kContractions = {
    "'ow's'at",      "'twas",       "ain't",       "aren't",         "can't",
    "could've",      "couldn't",    "couldn't've", "didn't",         "doesn't",
    "don't",         "hadn't",      "hadn't've",   "hasn't",         "haven't",
    "he'd",          "he'd've",     "he's",        "how'd",          "how'll",
    "how's",         "isn't",       "it'd",        "it'd've",        "it'll",
    "ma'am",         "might've",    "mightn't",    "mightn't've",    "must've",
    "mustn't",       "needn't",     "not've",      "o'clock",        "oughtn't",
    "shan't",        "she'd've",    "should've",   "shouldn't",      "shouldn't've",
    "somebody'd've", "somebody'll", "somebody's",  "someone'd",      "someone'd've",
    "someone'll",    "someone's",   "something'd", "something'd've", "something'll",
    "that's",        "there'd",     "there'd've",  "there're",       "there's",
    "they'd",        "they'd've",   "they'll",     "they're",        "they've",
    "wasn't",        "we'd've",     "we've",       "weren't",        "what'll",
    "what're",       "what's",      "what've",     "when's",         "where'd",
    "where's",       "where've",    "who'd",       "who'd've",       "who'll",
    "who's",         "who've",      "why'll",      "why're",         "why's",
    "won't",         "would've",    "wouldn't",    "wouldn't've",    "y'all",
    "y'all'd've",    "y'all'll",    "you'd",       "you'd've",       "you'll",
    "you're",        "you've",
};

constexpr std::array<std::pair<std::string_view, std::string_view>, 12> kNumerals = {{
    {"none", "0"},
    {"zero", "0"},
    {"one", "1"},
    {"two", "2"},
    {"three", "3"},
    {"four", "4"},
    {"five", "5"},
    {"six", "6"},
    {"seven", "7"},
    {"eight", "8"},
    {"nine", "9"},
    {"ten", "10"},
}};

bool Contains(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

bool IsDigit(char c) { return c >= '0' && c <= '9'; }

// A mark next to a space somewhere goes everywhere, others become spaces.
std::string WithoutPunctuation(const std::string& text) {
  constexpr std::string_view kMarks = ";/[]\"{}()=+\\_-><@`,?!";
  std::string out = text;
  for (const char mark : kMarks) {
    const bool goes =
        Contains(text, std::string({mark, ' '})) || Contains(text, std::string({' ', mark}));
    if (goes) {
      std::erase(out, mark);
    } else {
      std::replace(out.begin(), out.end(), mark, ' ');
    }
  }
  std::string kept;
  int removed = 0;
  for (std::size_t i = 0; i < out.size(); ++i) {
    const bool before_digit = i + 1 < out.size() && IsDigit(out[i + 1]);
    if (out[i] == '.' && !before_digit && removed < kMostFullStops) {
      ++removed;
    } else {
      kept += out[i];
    }
  }
  return kept;
}

std::string NormalWord(std::string word) {
  for (const auto& [numeral, digits] : kNumerals) {
    if (word == numeral) word = std::string(digits);
  }
  if (word == "somebody'd") return "somebodyd";
  for (std::size_t at = 0; at <= word.size(); ++at) {
    std::string whole = word;
    whole.insert(at, 1, '\'');
    if (std::binary_search(kContractions.begin(), kContractions.end(), whole)) return whole;
  }
  return word;
}

}  // namespace

bool PopeSaysYes(std::string_view answer) {
  const std::string sentence =
      absl::StrReplaceAll(AbslView(answer.substr(0, answer.find('.'))), {{",", ""}});
  const std::vector<std::string> words = absl::StrSplit(sentence, ' ');
  return std::none_of(words.begin(), words.end(), [](const std::string& word) {
    return word == "No" || word == "not" || word == "no";
  });
}

std::string MmeSays(std::string_view answer) {
  const std::string begin = absl::AsciiStrToLower(AbslView(answer.substr(0, 4)));
  if (Contains(begin, "yes")) return "yes";
  return Contains(begin, "no") ? "no" : "other";
}

std::optional<char> ScienceQaLetter(std::string_view text) {
  const bool option = !text.empty() && text[0] >= 'A' && text[0] < 'A' + kScienceQaOptions;
  if (option && (text.size() == 1 || text.substr(1, 2) == ". ")) return text[0];
  constexpr std::string_view kMark = "The answer is ";
  std::optional<char> found;
  std::size_t at = text.find(kMark);
  while (at != text.npos) {
    const std::string_view rest = text.substr(at + kMark.size(), 2);
    if (rest.size() == 2 && rest[0] >= 'A' && rest[0] <= 'Z' && rest[1] != '\n') {
      if (found.has_value()) return std::nullopt;
      found = rest[0];
    }
    at = text.find(kMark, at + kMark.size());
  }
  return found;
}

int ScienceQaIndex(std::string_view text, int choices) {
  const std::optional<char> letter = ScienceQaLetter(text);
  if (!letter.has_value()) return -1;
  const int index = *letter - 'A';
  return index < std::min(choices, kScienceQaOptions) ? index : -1;
}

std::optional<std::pair<double, double>> ReviewScores(std::string_view review) {
  const std::string line =
      absl::StrReplaceAll(AbslView(review.substr(0, review.find('\n'))), {{",", " "}});
  const std::vector<std::string> parts = absl::StrSplit(line, ' ');
  std::pair<double, double> scores;
  if (parts.size() != 2 || !absl::SimpleAtod(parts[0], &scores.first) ||
      !absl::SimpleAtod(parts[1], &scores.second)) {
    return std::nullopt;
  }
  const auto is_score = [](double score) { return std::isfinite(score) && score >= 0; };
  if (!is_score(scores.first) || !is_score(scores.second)) return std::nullopt;
  return scores;
}

std::string NormalVqaAnswer(std::string_view answer) {
  std::string text = absl::AsciiStrToLower(AbslView(answer));
  text = absl::StrReplaceAll(text, {{",", ""}, {"?", ""}, {"'s", " 's"}});
  text = absl::StrReplaceAll(text, {{"\n", " "}, {"\t", " "}});
  text = WithoutPunctuation(std::string(absl::StripAsciiWhitespace(text)));
  std::vector<std::string> words =
      absl::StrSplit(text, absl::ByAnyChar(" \t\n\v\f\r"), absl::SkipEmpty());
  std::erase_if(
      words, [](const std::string& word) { return word == "a" || word == "an" || word == "the"; });
  for (std::string& word : words) word = NormalWord(std::move(word));
  return absl::StrJoin(words, " ");
}

double VqaAccuracy(std::string_view answer, const std::vector<std::string>& people) {
  if (people.empty()) return 0;
  const std::string normal = NormalVqaAnswer(answer);
  std::vector<bool> agree;
  for (const std::string& one : people) agree.push_back(NormalVqaAnswer(one) == normal);
  const std::int64_t all = std::count(agree.begin(), agree.end(), true);
  double sum = 0;
  for (const bool left_out : agree) {
    sum += std::min(1.0, static_cast<double>(all - (left_out ? 1 : 0)) / kPeopleToAgree);
  }
  return all == 0 ? 0 : sum / static_cast<double>(people.size());
}

std::optional<char> ChoiceLetter(std::string_view answer, int choices) {
  std::string_view text = StdView(absl::StripAsciiWhitespace(AbslView(answer)));
  if (!text.empty() && text.front() == '(') text.remove_prefix(1);
  if (text.empty() || text[0] < 'A' || text[0] >= 'A' + choices) return std::nullopt;
  const bool ends = text.size() == 1 || Contains(").:, \n\t", text.substr(1, 1));
  return ends ? std::optional(text[0]) : std::nullopt;
}

}  // namespace llava::training
