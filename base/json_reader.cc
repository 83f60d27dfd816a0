#include "base/json_reader.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/status_macros.h"
#include "base/utf8_stream.h"
#include "boost/json/serialize.hpp"
#include "boost/json/stream_parser.hpp"

namespace llava {
namespace {

constexpr std::size_t kMaxJsonBytes = std::size_t{64} << 20;
constexpr std::size_t kMaxDepth = 32;
constexpr std::size_t kMaxShownBytes = 80;

std::string Shown(const boost::json::value* value) {
  if (value == nullptr) return "nothing";
  std::string text = boost::json::serialize(*value);
  if (text.size() > kMaxShownBytes) text = text.substr(0, kMaxShownBytes) + "...";
  return text;
}

const boost::json::object& EmptyObject() {
  static const boost::json::object& empty = *new boost::json::object();
  return empty;
}

}  // namespace

std::string PlaceInText(std::string_view text, std::size_t offset) {
  const std::string_view before = text.substr(0, offset);
  const std::size_t line =
      1 + static_cast<std::size_t>(std::count(before.begin(), before.end(), '\n'));
  const std::size_t start = before.rfind('\n');
  const std::size_t column = start == before.npos ? before.size() : before.size() - start - 1;
  return absl::StrCat("line ", line, ", column ", column + 1);
}

absl::StatusOr<boost::json::value> ParseJson(std::string_view text, std::size_t max_depth) {
  boost::json::parse_options options;
  options.max_depth = max_depth;
  boost::json::stream_parser parser(boost::json::storage_ptr(), options);
  boost::json::error_code error;
  text = WithoutByteOrderMark(text);
  const std::size_t read = parser.write(text.data(), text.size(), error);
  if (!error) parser.finish(error);
  if (!error) return parser.release();
  return absl::InvalidArgumentError(absl::StrCat("expected JSON, found a fault at ",
                                                 PlaceInText(text, read), ": ", error.message()));
}

absl::StatusOr<boost::json::object> ParseJsonObject(std::string_view text, std::string_view file) {
  auto parsed = ParseJson(text, kMaxDepth);
  if (!parsed.ok()) return Annotate(parsed.status(), std::string(file));
  boost::json::value value = *std::move(parsed);
  if (!value.is_object()) {
    return absl::InvalidArgumentError(
        absl::StrCat(AbslView(file), ": expected a JSON object, found ", Shown(&value)));
  }
  return std::move(value.as_object());
}

absl::StatusOr<boost::json::object> ReadJsonObject(const std::string& path) {
  ASSIGN_OR_RETURN(const std::string text, ReadFile(path, kMaxJsonBytes));
  return ParseJsonObject(text, path);
}

JsonReader::JsonReader(std::string file, const boost::json::object& object)
    : JsonReader(std::move(file), object, "", std::make_shared<absl::Status>()) {}

JsonReader::JsonReader(std::string file, const boost::json::object& object, std::string prefix,
                       std::shared_ptr<absl::Status> status)
    : file_(std::move(file)),
      object_(&object),
      prefix_(std::move(prefix)),
      status_(std::move(status)) {}

bool JsonReader::Contains(std::string_view key) const {
  return object_->contains(boost::json::string_view(key.data(), key.size()));
}

const boost::json::value* JsonReader::Find(std::string_view key) const {
  const boost::json::value* value =
      object_->if_contains(boost::json::string_view(key.data(), key.size()));
  return value == nullptr || value->is_null() ? nullptr : value;
}

void JsonReader::Fail(std::string_view key, std::string_view expected) {
  if (!status_->ok()) return;
  *status_ =
      absl::InvalidArgumentError(absl::StrCat(file_, ": ", prefix_, AbslView(key), ": expected ",
                                              AbslView(expected), ", found ", Shown(Find(key))));
}

std::int64_t JsonReader::Int(std::string_view key, std::int64_t otherwise, std::int64_t low,
                             std::int64_t high) {
  return IntOrInts(key, {otherwise}, low, high, 1).front();
}

std::vector<std::int64_t> JsonReader::IntOrInts(std::string_view key,
                                                std::vector<std::int64_t> otherwise,
                                                std::int64_t low, std::int64_t high,
                                                std::size_t max_count) {
  const boost::json::value* value = Find(key);
  if (value == nullptr) return otherwise;
  const auto in_range = [&](const boost::json::value& item) {
    return item.is_int64() && item.get_int64() >= low && item.get_int64() <= high;
  };
  if (in_range(*value)) return {value->get_int64()};
  std::string expected = absl::StrCat("an integer from ", low, " to ", high);
  if (max_count > 1) {
    absl::StrAppend(&expected, " or a list of 1 to ", max_count, " of them");
    if (const auto* list = value->if_array();
        list != nullptr && !list->empty() && list->size() <= max_count) {
      std::vector<std::int64_t> items;
      for (const auto& item : *list) {
        if (in_range(item)) items.push_back(item.get_int64());
      }
      if (items.size() == list->size()) return items;
    }
  }
  Fail(key, expected);
  return otherwise;
}

double JsonReader::Double(std::string_view key, double otherwise, double low, double high) {
  const boost::json::value* value = Find(key);
  if (value == nullptr) return otherwise;
  if (value->is_number()) {
    const auto number = value->to_number<double>();
    if (std::isfinite(number) && number >= low && number <= high) return number;
  }
  Fail(key, absl::StrCat("a number from ", low, " to ", high));
  return otherwise;
}

bool JsonReader::Bool(std::string_view key, bool otherwise) {
  const boost::json::value* value = Find(key);
  if (value == nullptr) return otherwise;
  if (value->is_bool()) return value->get_bool();
  Fail(key, "true or false");
  return otherwise;
}

std::string JsonReader::String(std::string_view key, std::string otherwise) {
  const boost::json::value* value = Find(key);
  if (value == nullptr) return otherwise;
  if (value->is_string()) return std::string(value->get_string());
  Fail(key, "a string");
  return otherwise;
}

JsonReader JsonReader::Object(std::string_view key) {
  const boost::json::value* value = Find(key);
  if (value != nullptr && !value->is_object()) Fail(key, "an object");
  const bool there = value != nullptr && value->is_object();
  return JsonReader(file_, there ? value->get_object() : EmptyObject(),
                    absl::StrCat(prefix_, AbslView(key), "."), status_);
}

JsonReader JsonReader::Element(std::string_view key, const boost::json::object& object) const {
  return JsonReader(file_, object, absl::StrCat(prefix_, AbslView(key), "[]."), status_);
}

}  // namespace llava
