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

struct Judged {
  std::int64_t row = -1;
  Verdict verdict;
};

bool SaysNothing(const Verdict& verdict) {
  return verdict.thumb == Thumb::kNone && verdict.correction.empty() && !verdict.is_removed;
}

absl::StatusOr<Judged> ParseLine(absl::string_view text, const std::string& place) {
  constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max();
  ASSIGN_OR_RETURN(const json::object object, ParseJsonObject(StdView(text), place));
  JsonReader reader(place, object);
  Judged judged;
  Verdict& verdict = judged.verdict;
  judged.row = reader.Int("row", -1, 0, kMost);
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
  if (judged.row < 0) reader.Fail("row", "the number of a row");
  RETURN_IF_ERROR(reader.status());
  return judged;
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
  const absl::string_view whole = absl::string_view(*text).substr(0, text->rfind('\n') + 1);
  int number = 0;
  for (const absl::string_view line : absl::StrSplit(whole, '\n')) {
    ++number;
    if (line.empty()) continue;
    ASSIGN_OR_RETURN(Judged judged, ParseLine(line, absl::StrCat(path, ":", number)));
    if (SaysNothing(judged.verdict)) {
      verdicts.erase(judged.row);
    } else {
      verdicts[judged.row] = std::move(judged.verdict);
    }
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

absl::StatusOr<VerdictFile> VerdictFile::Open(const std::string& folder) {
  const std::string path = VerdictsFile(folder);
  Lines lines;
  absl::Status status;
  std::int64_t number = 0;
  const auto note = [&](absl::string_view line) {
    ++number;
    if (line.empty() || !status.ok()) return true;
    const auto judged = ParseLine(line, absl::StrCat(path, ":", number));
    status = judged.status();
    if (judged.ok()) lines.Take(judged->row, judged->verdict, std::ssize(line) + 1);
    return true;
  };
  ASSIGN_OR_RETURN(LineAppender file, LineAppender::Open(path, note));
  RETURN_IF_ERROR(status);
  return VerdictFile(folder, std::move(file), std::move(lines));
}

bool VerdictFile::IsRemoved(std::int64_t row) const {
  const auto found = lines_.by_row.find(row);
  return found != lines_.by_row.end() && found->second.is_removed;
}

void VerdictFile::Lines::Take(std::int64_t row, const Verdict& verdict, std::int64_t line_bytes) {
  Line& line = by_row[row];
  bytes += line_bytes - line.bytes;
  line = {line_bytes, !verdict.correction.empty(), verdict.is_removed};
  if (!SaysNothing(verdict)) return;
  bytes -= line_bytes;
  by_row.erase(row);
}

absl::Status VerdictFile::Append(std::int64_t row, const Verdict& verdict) {
  const std::string line = LineOf(row, verdict);
  const std::int64_t bytes = std::ssize(line) + 1;
  if (lines_.bytes + bytes > kMaxVerdictBytes) {
    return WithField(absl::ResourceExhaustedError(absl::StrCat(
                         "the verdicts beside this answer have ", lines_.bytes,
                         " bytes, expected at most ", kMaxVerdictBytes, " with this one")),
                     "correction");
  }
  const auto before = lines_.by_row.find(row);
  const bool takes_back =
      SaysNothing(verdict) && before != lines_.by_row.end() && before->second.has_correction;
  RETURN_IF_ERROR(file_.AppendDurably(line));
  lines_.Take(row, verdict, bytes);
  const bool has_grown = file_.size() > 2 * lines_.bytes + kOldVerdictBytes;
  return takes_back || has_grown ? Rewrite() : absl::OkStatus();
}

absl::Status VerdictFile::Rewrite() {
  ASSIGN_OR_RETURN(const Verdicts verdicts, ReadVerdicts(folder_));
  RETURN_IF_ERROR(WriteVerdicts(verdicts, folder_));
  ASSIGN_OR_RETURN(*this, Open(folder_));
  return absl::OkStatus();
}

}  // namespace llava::capture
