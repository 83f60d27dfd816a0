#include "capture/verdicts.h"

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <boost/json/value_from.hpp>
#include <filesystem>
#include <limits>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/durable_file.h"
#include "base/field_error.h"
#include "base/json_reader.h"
#include "base/status_macros.h"
#include "base/utf8_stream.h"
#include "capture/row.h"

namespace llava::capture {
namespace {

namespace json = boost::json;

constexpr std::size_t kMaxFileBytes = std::size_t{1} << 30;

std::string LineOf(std::int64_t row, const Verdict& verdict) {
  json::object line = {{"row", row},
                       {"verdict", json::string_view(ThumbName(verdict.thumb).data(),
                                                     ThumbName(verdict.thumb).size())},
                       {"time", verdict.time}};
  if (!verdict.correction.empty()) line["correction"] = verdict.correction;
  if (verdict.is_removed) {
    line["removed"] = true;
    line["versions"] = json::value_from(verdict.versions);
  }
  return json::serialize(line);
}

absl::Status AddLine(absl::string_view text, const std::string& place, Verdicts* verdicts) {
  constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max();
  ASSIGN_OR_RETURN(const json::object object, ParseJsonObject(StdView(text), place));
  JsonReader reader(place, object);
  Verdict verdict;
  const std::int64_t row = reader.Int("row", -1, 0, kMost);
  const auto thumb = ParseThumb(reader.String("verdict", ""));
  if (!thumb.ok()) reader.Fail("verdict", "up, down or none");
  verdict.thumb = thumb.value_or(Thumb::kNone);
  verdict.correction = reader.String("correction", "");
  verdict.time = reader.Int("time", 0, 0, kMost);
  verdict.is_removed = reader.Bool("removed", false);
  if (const json::value* versions = reader.Find("versions"); versions != nullptr) {
    if (!versions->is_array()) reader.Fail("versions", "a list");
    for (const json::value& version : versions->is_array() ? versions->as_array() : json::array()) {
      if (version.is_string()) verdict.versions.emplace_back(version.as_string());
    }
  }
  if (row < 0) reader.Fail("row", "the number of a row");
  RETURN_IF_ERROR(reader.status());
  (*verdicts)[row] = std::move(verdict);
  return absl::OkStatus();
}

}  // namespace

absl::string_view ThumbName(Thumb thumb) {
  switch (thumb) {
    case Thumb::kUp:
      return "up";
    case Thumb::kDown:
      return "down";
    case Thumb::kNone:
      break;
  }
  return "none";
}

absl::StatusOr<Thumb> ParseThumb(absl::string_view name) {
  for (const Thumb thumb : {Thumb::kUp, Thumb::kDown, Thumb::kNone}) {
    if (name == ThumbName(thumb)) return thumb;
  }
  return FieldError("verdict", absl::StrCat("is '", Utf8Repair(StdView(name.substr(0, 64))),
                                            "', expected up, down or none"));
}

absl::Status CheckCorrection(absl::string_view correction) {
  if (correction.size() > kMaxCorrectionBytes) {
    return FieldError("correction", absl::StrCat(correction.size(), " bytes, expected at most ",
                                                 kMaxCorrectionBytes));
  }
  if (!IsValidUtf8(StdView(correction))) return FieldError("correction", "is not valid UTF-8");
  if (HasMark(correction)) {
    return FieldError("correction",
                      "has <image>, <video> or <audio>, which training takes for a picture, "
                      "expected a text without them");
  }
  return absl::OkStatus();
}

std::string VerdictsFile(const std::string& folder) { return folder + "/verdicts.jsonl"; }

absl::StatusOr<Verdicts> ReadVerdicts(const std::string& folder) {
  const std::string path = VerdictsFile(folder);
  Verdicts verdicts;
  const absl::StatusOr<std::string> text = ReadFile(path, kMaxFileBytes);
  if (absl::IsNotFound(text.status())) return verdicts;
  RETURN_IF_ERROR(text.status());
  int number = 0;
  for (const absl::string_view line : absl::StrSplit(*text, '\n')) {
    ++number;
    if (line.empty()) continue;
    RETURN_IF_ERROR(AddLine(line, absl::StrCat(path, ":", number), &verdicts));
  }
  return verdicts;
}

absl::Status WriteVerdicts(const Verdicts& verdicts, const std::string& folder) {
  std::string text;
  for (const auto& [row, verdict] : verdicts) absl::StrAppend(&text, LineOf(row, verdict), "\n");
  const std::string path = VerdictsFile(folder);
  RETURN_IF_ERROR(WriteFile(path + ".new", text));
  return RenameFile(path + ".new", path);
}

std::int64_t VerdictBytes(const std::string& folder) {
  std::error_code error;
  const auto bytes = std::filesystem::file_size(VerdictsFile(folder), error);
  return error ? 0 : static_cast<std::int64_t>(bytes);
}

}  // namespace llava::capture
