#include "training/evaluate/score.h"

#include <algorithm>
#include <fstream>
#include <utility>
#include <variant>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "base/status_macros.h"
#include "boost/json.hpp"
#include "training/data/instruction_dataset.h"
#include "training/data/tar/picture_file.h"

namespace llava::training {
namespace {

namespace json = boost::json;

std::string Normalise(std::string_view text) {
  std::string words;
  for (const char c : text) {
    const bool space = absl::ascii_isspace(static_cast<unsigned char>(c));
    if (space && (words.empty() || words.back() == ' ')) continue;
    words.push_back(space ? ' ' : absl::ascii_tolower(static_cast<unsigned char>(c)));
  }
  while (!words.empty() && (words.back() == ' ' || words.back() == '.')) words.pop_back();
  return words;
}

std::string WithoutPlaceholders(const std::string& text) {
  const std::string bare = absl::StrReplaceAll(text, {{kImagePlaceholder.data(), ""}});
  return std::string(absl::StripAsciiWhitespace(bare));
}

// The list "kinds" of a row's JSON; empty without one.
std::vector<std::string> KindsOf(std::string_view row) {
  boost::system::error_code error;
  const json::value value = json::parse(json::string_view(row.data(), row.size()), error);
  if (error || !value.is_object()) return {};
  const json::value* kinds = value.as_object().if_contains("kinds");
  if (kinds == nullptr || !kinds->is_array()) return {};
  std::vector<std::string> names;
  for (const json::value& kind : kinds->as_array()) {
    names.push_back(kind.is_string() ? std::string(kind.as_string()) : "all");
  }
  return names;
}

KindScore Total(const Scores& scores) {
  KindScore total;
  for (const auto& [kind, score] : scores) {
    total.asked += score.asked;
    total.right += score.right;
  }
  return total;
}

}  // namespace

absl::StatusOr<std::vector<EvaluationItem>> ReadEvaluationItems(const std::string& file,
                                                                std::int64_t limit) {
  if (IsTar(file)) {
    return absl::UnimplementedError(
        absl::StrCat(file, ": questions are not read from tars, expected LLaVA JSON or JSONL"));
  }
  DatasetOptions options;
  options.on_bad_row = OnBadRow::kStop;
  ASSIGN_OR_RETURN(const InstructionDataset data, InstructionDataset::Open({file}, options));
  const std::int64_t rows = limit > 0 ? std::min(limit, data.size()) : data.size();
  std::vector<EvaluationItem> items;
  for (std::int64_t i = 0; i < rows; ++i) {
    ASSIGN_OR_RETURN(const std::string text, data.ReadText(i));
    std::variant<Row, RowIssue> parsed = ParseRow(text);
    const Row* row = std::get_if<Row>(&parsed);
    if (row == nullptr) return absl::DataLossError(absl::StrCat(data.Describe(i), ": has changed"));
    const std::vector<std::string> kinds = KindsOf(text);
    std::vector<std::pair<std::string, std::string>> history;
    for (std::size_t turn = 0; turn + 1 < row->turns.size(); turn += 2) {
      const std::size_t pair = turn / 2;
      const std::string question = WithoutPlaceholders(row->turns[turn].text);
      const std::string& answer = row->turns[turn + 1].text;
      items.push_back(
          {row->images, question, answer, pair < kinds.size() ? kinds[pair] : "all", history});
      history.emplace_back(question, answer);
    }
  }
  return items;
}

bool IsRight(std::string_view expected, std::string_view answer) {
  return Normalise(expected) == Normalise(answer);
}

std::string ToText(const Scores& scores) {
  std::string text;
  const auto line = [&](const std::string& kind, const KindScore& score) {
    absl::StrAppendFormat(&text, "%-12s %6.2f%%  %d of %d\n", kind, 100 * score.share(),
                          score.right, score.asked);
  };
  for (const auto& [kind, score] : scores) line(kind, score);
  line("total", Total(scores));
  return text;
}

std::map<std::string, double> Shares(const Scores& scores) {
  std::map<std::string, double> shares;
  for (const auto& [kind, score] : scores) shares[kind] = score.share();
  shares["total"] = Total(scores).share();
  return shares;
}

}  // namespace llava::training
