#include "training/evaluate/benchmarks/bench_files.h"

#include <algorithm>
#include <array>
#include <boost/json/serialize.hpp>
#include <filesystem>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/file.h"
#include "base/json_reader.h"
#include "base/status_macros.h"
#include "base/utf8_stream.h"
#include "training/data/json_lines.h"

namespace llava::training {
namespace {

namespace fs = std::filesystem;
namespace json = boost::json;

constexpr std::size_t kMaxFileBytes = std::size_t{4} << 30;
constexpr std::size_t kMaxDepth = 32;

std::vector<std::string> Below(const std::string& folder, const std::string& name) {
  std::vector<std::string> found;
  std::error_code error;
  fs::recursive_directory_iterator at(folder, fs::directory_options::skip_permission_denied, error);
  for (; !error && at != fs::recursive_directory_iterator(); at.increment(error)) {
    if (at->path().filename() == name) found.push_back(at->path().string());
  }
  std::sort(found.begin(), found.end());
  return found;
}

// Reads one field at `*at` and moves behind it, to a tab, a line end or the end of the text.
std::string TakeField(std::string_view text, std::size_t* at) {
  std::string field;
  bool quoted = *at < text.size() && text[*at] == '"';
  if (quoted) ++*at;
  for (; *at < text.size(); ++*at) {
    const char c = text[*at];
    if (quoted && c == '"') {
      if (*at + 1 < text.size() && text[*at + 1] == '"') {
        ++*at;
      } else {
        quoted = false;
        continue;
      }
    } else if (!quoted && (c == '\t' || c == '\n')) {
      break;
    }
    field += c;
  }
  if (!quoted && !field.empty() && field.back() == '\r') field.pop_back();
  return field;
}

}  // namespace

absl::StatusOr<std::string> FindBenchFile(const std::string& folder,
                                          const std::vector<std::string>& names) {
  for (const std::string& name : names) {
    const std::string here = absl::StrCat(folder, "/", name);
    if (IsThere(here)) return here;
  }
  for (const std::string& name : names) {
    const std::vector<std::string> found = Below(folder, name);
    if (found.size() == 1) return found.front();
    if (found.size() > 1) {
      return absl::InvalidArgumentError(absl::StrCat(found[0], " and ", found[1],
                                                     " have the same name, expected one file ",
                                                     name, " below ", folder));
    }
  }
  return absl::NotFoundError(
      absl::StrCat(folder, ": expected a file ", absl::StrJoin(names, " or "), " here or below"));
}

absl::StatusOr<std::string> GivenOrFound(const std::string& given, const std::string& folder,
                                         const std::vector<std::string>& names) {
  if (!given.empty()) return given;
  return FindBenchFile(folder, names);
}

absl::StatusOr<std::vector<json::object>> ReadBenchLines(const std::string& file) {
  ASSIGN_OR_RETURN(std::vector<json::object> objects, ReadJsonLines(file, kMaxFileBytes));
  if (objects.empty()) return absl::InvalidArgumentError(absl::StrCat(file, ": has no lines"));
  return objects;
}

absl::StatusOr<json::value> ReadJsonFile(const std::string& file) {
  ASSIGN_OR_RETURN(const std::string text, ReadFile(file, kMaxFileBytes));
  auto value = ParseJson(text, kMaxDepth);
  if (!value.ok()) return Annotate(value.status(), file);
  return value;
}

absl::StatusOr<std::vector<json::object>> ReadJsonObjects(const std::string& file,
                                                          std::string_view key) {
  ASSIGN_OR_RETURN(const json::value whole, ReadJsonFile(file));
  const json::value* list = &whole;
  if (whole.is_object()) list = whole.get_object().if_contains({key.data(), key.size()});
  if (list == nullptr || !list->is_array()) {
    return absl::InvalidArgumentError(absl::StrCat(file, ": expected a list of objects"));
  }
  std::vector<json::object> objects;
  for (const json::value& element : list->get_array()) {
    if (element.is_object()) objects.push_back(element.get_object());
  }
  return objects;
}

absl::StatusOr<std::string> TextAt(const json::object& object, std::string_view key,
                                   const std::string& place) {
  const json::value* value = object.if_contains({key.data(), key.size()});
  if (value != nullptr && (value->is_string() || value->is_number())) return IdText(*value);
  return absl::InvalidArgumentError(absl::StrCat(place, ": ", AbslView(key), ": expected a text"));
}

std::string TextOr(const json::object& object, std::string_view key) {
  const json::value* value = object.if_contains({key.data(), key.size()});
  if (value == nullptr || value->is_null()) return "";
  return IdText(*value);
}

std::string IdText(const json::value& id) {
  return id.is_string() ? std::string(id.as_string()) : json::serialize(id);
}

std::int64_t BenchTable::Column(std::string_view name) const {
  const auto found = std::find(columns.begin(), columns.end(), name);
  return found == columns.end() ? -1 : found - columns.begin();
}

absl::StatusOr<BenchTable> ParseTabSeparated(std::string_view text, const std::string& source) {
  BenchTable table;
  std::size_t at = 0;
  while (at < text.size()) {
    std::vector<std::string> row = {TakeField(text, &at)};
    while (at < text.size() && text[at] == '\t') row.push_back(TakeField(text, &++at));
    ++at;  // the line's end
    if (row.size() == 1 && row[0].empty()) continue;
    if (table.columns.empty()) {
      table.columns = std::move(row);
      continue;
    }
    if (row.size() > table.columns.size()) {
      return absl::InvalidArgumentError(
          absl::StrCat(source, ": row ", table.rows.size() + 1, " has ", row.size(),
                       " fields, expected at most ", table.columns.size()));
    }
    row.resize(table.columns.size());
    table.rows.push_back(std::move(row));
  }
  if (table.rows.empty()) return absl::InvalidArgumentError(absl::StrCat(source, ": has no rows"));
  return table;
}

bool IsNoValue(std::string_view field) {
  constexpr std::array<std::string_view, 18> kNone = {
      "",        "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND",
      "1.#QNAN", "<NA>", "N/A",      "NA",  "NULL",    "n/a",      "null", "nan",  "none"};
  if (std::find(kNone.begin(), kNone.end(), field) != kNone.end()) return true;
  const std::string lower = absl::AsciiStrToLower(AbslView(field));
  return lower == "nan" || lower == "none";
}

}  // namespace llava::training
