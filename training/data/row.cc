#include "training/data/row.h"

#include <algorithm>
#include <filesystem>
#include <optional>

#include "absl/strings/str_cat.h"
#include "boost/json.hpp"

namespace llava::training {
namespace {

namespace json = boost::json;

constexpr std::size_t kMaxDepth = 16;

RowIssue Issue(std::string id, std::string field, std::string why) {
  return RowIssue{.id = std::move(id), .field = std::move(field), .why = std::move(why)};
}

// A value as it stands in a message: short, and never the whole of a long text.
std::string Show(const json::value& value) {
  std::string text = json::serialize(value);
  constexpr std::size_t kMost = 60;
  if (text.size() > kMost) text = absl::StrCat(text.substr(0, kMost), "...");
  return text;
}

std::size_t CountPlaceholders(std::string_view text) {
  std::size_t count = 0;
  for (std::size_t at = text.find(kImagePlaceholder); at != text.npos;
       at = text.find(kImagePlaceholder, at + kImagePlaceholder.size())) {
    ++count;
  }
  return count;
}

// Relative, and without a way out of the images folder.
bool StaysInside(const std::string& path) {
  const std::filesystem::path parsed(path);
  if (path.empty() || parsed.is_absolute()) return false;
  return std::none_of(parsed.begin(), parsed.end(), [](const auto& part) { return part == ".."; });
}

std::optional<RowIssue> ReadId(const json::object& object, Row* row) {
  const json::value* id = object.if_contains("id");
  if (id == nullptr || id->is_null()) return std::nullopt;
  if (id->is_string()) {
    row->id = std::string(id->as_string());
  } else if (id->is_int64() || id->is_uint64()) {
    row->id = json::serialize(*id);
  } else {
    return Issue("", "id", absl::StrCat("is ", Show(*id), ", expected a string or an integer"));
  }
  return std::nullopt;
}

std::optional<RowIssue> AddImage(const json::value& value, const std::string& field, Row* row) {
  if (!value.is_string()) {
    return Issue(row->id, field, absl::StrCat("is ", Show(value), ", expected a path"));
  }
  std::string path(value.as_string());
  if (!StaysInside(path) || path.find('\0') != path.npos) {
    return Issue(row->id, field,
                 absl::StrCat("is ", Show(value), ", expected a path inside the images folder"));
  }
  row->images.push_back(std::move(path));
  return std::nullopt;
}

std::optional<RowIssue> ReadImages(const json::object& object, Row* row) {
  const json::value* image = object.if_contains("image");
  if (image == nullptr || image->is_null()) return std::nullopt;
  if (!image->is_array()) return AddImage(*image, "image", row);
  std::size_t index = 0;
  for (const json::value& entry : image->as_array()) {
    if (auto issue = AddImage(entry, absl::StrCat("image[", index++, "]"), row)) return issue;
  }
  return std::nullopt;
}

std::optional<RowIssue> AddTurn(const json::value& value, const std::string& field, Row* row) {
  if (!value.is_object()) {
    return Issue(row->id, field, absl::StrCat("is ", Show(value), ", expected an object"));
  }
  const json::value* from = value.as_object().if_contains("from");
  const json::value* text = value.as_object().if_contains("value");
  if (from == nullptr || !from->is_string() ||
      (from->as_string() != "human" && from->as_string() != "gpt")) {
    return Issue(row->id, field + ".from",
                 absl::StrCat("is ", from == nullptr ? "missing" : Show(*from),
                              ", expected \"human\" or \"gpt\""));
  }
  if (text == nullptr || !text->is_string() || text->as_string().empty()) {
    return Issue(row->id, field + ".value",
                 absl::StrCat("is ", text == nullptr ? "missing" : Show(*text),
                              ", expected a text that is not empty"));
  }
  const Speaker speaker = from->as_string() == "human" ? Speaker::kHuman : Speaker::kGpt;
  if (row->turns.empty() && speaker == Speaker::kGpt) return std::nullopt;  // dropped
  if (!row->turns.empty() && row->turns.back().speaker == speaker) {
    return Issue(row->id, field + ".from",
                 absl::StrCat("is ", Show(*from), " twice in a row, expected the other speaker"));
  }
  row->turns.push_back({speaker, std::string(text->as_string())});
  return std::nullopt;
}

std::optional<RowIssue> ReadTurns(const json::object& object, Row* row) {
  const json::value* turns = object.if_contains("conversations");
  if (turns == nullptr || !turns->is_array()) {
    return Issue(row->id, "conversations",
                 absl::StrCat("is ", turns == nullptr ? "missing" : Show(*turns),
                              ", expected a list of turns"));
  }
  std::size_t index = 0;
  for (const json::value& turn : turns->as_array()) {
    if (auto issue = AddTurn(turn, absl::StrCat("conversations[", index++, "]"), row)) return issue;
  }
  if (row->turns.empty() || row->turns.back().speaker == Speaker::kHuman) {
    return Issue(row->id, "conversations",
                 row->turns.empty() ? "has no turn of the human followed by one of gpt"
                                    : "ends with the human, expected an answer of gpt at the end");
  }
  return std::nullopt;
}

std::optional<RowIssue> CheckPlaceholders(const Row& row) {
  if (row.images.empty()) return std::nullopt;
  std::size_t human = 0;
  for (std::size_t i = 0; i < row.turns.size(); ++i) {
    const std::size_t count = CountPlaceholders(row.turns[i].text);
    if (row.turns[i].speaker == Speaker::kGpt && count > 0) {
      return Issue(row.id, "conversations", "has <image> in a turn of gpt");
    }
    human += count;
  }
  if (human == row.images.size()) return std::nullopt;
  return Issue(row.id, "conversations",
               absl::StrCat("has ", human, " <image> for ", row.images.size(),
                            " pictures, expected as many"));
}

}  // namespace

std::string RowIssue::ToString() const {
  std::string text = absl::StrCat(file, ":", line, ": ");
  if (!id.empty()) absl::StrAppend(&text, "row '", id, "': ");
  if (!field.empty()) absl::StrAppend(&text, field, " ");
  return absl::StrCat(text, why);
}

std::variant<Row, RowIssue> ParseRow(std::string_view text) {
  if (text.size() > kMaxRowBytes) {
    return Issue(
        "", "",
        absl::StrCat("has ", text.size(), " bytes, at most ", kMaxRowBytes, " are allowed"));
  }
  json::parse_options options;
  options.max_depth = kMaxDepth;
  boost::system::error_code error;
  const json::value value =
      json::parse(json::string_view(text.data(), text.size()), error, json::storage_ptr(), options);
  if (error) return Issue("", "", absl::StrCat("is not valid JSON: ", error.message()));
  if (!value.is_object()) {
    return Issue("", "", absl::StrCat("is ", Show(value), ", expected an object"));
  }
  Row row;
  const json::object& object = value.as_object();
  if (auto issue = ReadId(object, &row)) return *issue;
  if (auto issue = ReadImages(object, &row)) return *issue;
  if (auto issue = ReadTurns(object, &row)) return *issue;
  if (auto issue = CheckPlaceholders(row)) return *issue;
  return row;
}

std::int32_t CountWords(const Row& row) {
  std::int32_t words = 0;
  for (const Turn& turn : row.turns) {
    bool inside = false;
    for (const char c : turn.text) {
      const bool space = c == ' ' || c == '\n' || c == '\t' || c == '\r';
      if (!space && !inside) ++words;
      inside = !space;
    }
  }
  return std::max(words, 1);
}

}  // namespace llava::training
