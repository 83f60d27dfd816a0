#include "training/generate/concepts.h"

#include <algorithm>
#include <array>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/rng.h"
#include "base/utf8_stream.h"

namespace llava::training {
namespace {

constexpr std::size_t kMostWords = 3;
constexpr std::array<std::int64_t, 5> kSteps = {1, 2, 9, 99, 999};  // of the histogram

// Words that stand in no noun phrase. Sorted.
constexpr std::array<std::string_view, 120> kOthers = {
    "a",       "about", "above",   "across", "after",   "against", "all",     "along",  "also",
    "am",      "among", "an",      "and",    "another", "any",     "are",     "around", "as",
    "at",      "be",    "because", "been",   "before",  "behind",  "being",   "below",  "beside",
    "between", "both",  "but",     "by",     "can",     "carries", "carry",   "come",   "comes",
    "could",   "do",    "does",    "down",   "during",  "each",    "every",   "for",    "from",
    "get",     "gets",  "go",      "goes",   "had",     "has",     "have",    "he",     "her",
    "here",    "him",   "his",     "holds",  "how",     "i",       "if",      "in",     "inside",
    "into",    "is",    "it",      "its",    "just",    "like",    "look",    "looks",  "made",
    "make",    "makes", "may",     "my",     "near",    "next",    "no",      "not",    "of",
    "off",     "on",    "onto",    "or",     "our",     "out",     "outside", "over",   "past",
    "ride",    "rides", "she",     "shows",  "sit",     "sits",    "so",      "some",   "stand",
    "stands",  "such",  "take",    "takes",  "than",    "that",    "the",     "their",  "them",
    "there",   "these", "they",    "this",   "those",   "through", "to",      "toward", "under",
    "up",      "was",   "with"};

bool IsOther(const std::string& word) {
  if (std::binary_search(kOthers.begin(), kOthers.end(), word)) return true;
  return word.size() > 5 && absl::EndsWith(word, "ing");  // "sitting"; "ring" and "king" stay
}

void Keep(std::vector<std::string>* words, std::vector<std::string>* phrases) {
  if (words->empty()) return;
  const auto begin =
      words->end() - static_cast<std::ptrdiff_t>(std::min(words->size(), kMostWords));
  std::string phrase = absl::StrJoin(begin, words->end(), " ");
  if (std::find(phrases->begin(), phrases->end(), phrase) == phrases->end()) {
    phrases->push_back(std::move(phrase));
  }
  words->clear();
}

}  // namespace

std::vector<std::string> NounPhrases(std::string_view caption) {
  std::vector<std::string> phrases, words;
  std::string word;
  const auto end_word = [&] {
    if (word.empty()) return;
    if (IsOther(word)) {
      Keep(&words, &phrases);
    } else {
      words.push_back(word);
    }
    word.clear();
  };
  for (const char c : absl::AsciiStrToLower(AbslView(caption))) {
    const auto byte = static_cast<unsigned char>(c);
    if (absl::ascii_isalnum(byte) || byte >= 0x80 || c == '\'' || c == '-') {
      word += c;
      continue;
    }
    end_word();
    if (!absl::ascii_isspace(byte)) Keep(&words, &phrases);
  }
  end_word();
  Keep(&words, &phrases);
  return phrases;
}

void ConceptBalance::Add(const std::vector<std::string>& phrases) {
  begin_.push_back(flat_.size());
  for (const std::string& phrase : phrases) {
    const auto [found, is_new] =
        ids_.try_emplace(phrase, static_cast<std::uint32_t>(names_.size()));
    if (is_new) names_.push_back(&found->first);
    flat_.push_back(found->second);
  }
}

std::vector<std::int64_t> ConceptBalance::Choose(std::int64_t min, std::int64_t max,
                                                 std::uint64_t seed) const {
  std::vector<std::vector<std::uint32_t>> captions(names_.size());  // by phrase
  for (std::size_t caption = 0; caption < begin_.size(); ++caption) {
    const std::size_t end = caption + 1 < begin_.size() ? begin_[caption + 1] : flat_.size();
    for (std::size_t at = begin_[caption]; at < end; ++at) {
      captions[flat_[at]].push_back(static_cast<std::uint32_t>(caption));
    }
  }
  std::vector<std::uint32_t> order;
  for (std::uint32_t id = 0; id < names_.size(); ++id) {
    if (std::ssize(captions[id]) >= min) order.push_back(id);
  }
  std::sort(order.begin(), order.end(), [&](std::uint32_t a, std::uint32_t b) {
    if (captions[a].size() != captions[b].size()) return captions[a].size() < captions[b].size();
    return *names_[a] < *names_[b];
  });
  Rng rng(seed);
  std::vector<bool> chosen(begin_.size());
  for (const std::uint32_t id : order) {
    std::vector<std::uint32_t>& of = captions[id];
    if (std::ssize(of) > max) {
      rng.Shuffle(of);
      of.resize(static_cast<std::size_t>(max));
    }
    for (const std::uint32_t caption : of) chosen[caption] = true;
  }
  std::vector<std::int64_t> list;
  for (std::size_t caption = 0; caption < chosen.size(); ++caption) {
    if (chosen[caption]) list.push_back(static_cast<std::int64_t>(caption));
  }
  return list;
}

std::vector<std::int64_t> ConceptBalance::Histogram(const std::vector<std::int64_t>& chosen) const {
  std::vector<std::int64_t> counts(names_.size());
  for (const std::int64_t index : chosen) {
    const auto caption = static_cast<std::size_t>(index);
    const std::size_t end = caption + 1 < begin_.size() ? begin_[caption + 1] : flat_.size();
    for (std::size_t at = begin_[caption]; at < end; ++at) ++counts[flat_[at]];
  }
  std::vector<std::int64_t> histogram(kSteps.size() + 1);
  for (const std::int64_t count : counts) {
    if (count == 0) continue;
    ++histogram[static_cast<std::size_t>(std::lower_bound(kSteps.begin(), kSteps.end(), count) -
                                         kSteps.begin())];
  }
  return histogram;
}

std::string HistogramText(const std::vector<std::int64_t>& histogram) {
  return absl::StrCat("phrases in 1, 2, 3-9, 10-99, 100-999, 1000+ captions: ",
                      absl::StrJoin(histogram, ", "));
}

}  // namespace llava::training
