#include "server/api/openai/multipart.h"

#include <algorithm>
#include <optional>
#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/status_macros.h"

namespace llava::api {
namespace {

constexpr absl::string_view kForm = "multipart/form-data";
constexpr std::size_t kMaxBoundary = 70;  // RFC 2046, section 5.1.1
constexpr std::size_t kMaxPartHeader = 4096;
constexpr absl::string_view kHeaderEnd = "\r\n\r\n";
constexpr char kNoLineEnd[] = "expected a line's end after a boundary";
constexpr char kNoHeaderEnd[] = "a part's header has no end";
constexpr char kNoBoundary[] = "expected to begin with its boundary";
constexpr char kNoEnd[] = "ends before its last boundary";

absl::Status Malformed(absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat("the form: ", what));
}

// The value of `; key=value` or `; key="value"` in a header's value.
std::optional<absl::string_view> Parameter(absl::string_view header, absl::string_view key) {
  while (!header.empty()) {
    const std::size_t semicolon = header.find(';');
    if (semicolon == header.npos) return std::nullopt;
    header = absl::StripLeadingAsciiWhitespace(header.substr(semicolon + 1));
    const std::size_t equals = header.find_first_of("=;");
    if (equals == header.npos || header[equals] == ';') continue;
    const absl::string_view found = header.substr(0, equals);
    header.remove_prefix(equals + 1);
    const bool quoted = absl::ConsumePrefix(&header, "\"");
    std::size_t end = 0;
    while (end < header.size() && header[end] != (quoted ? '"' : ';')) {
      end += quoted && header[end] == '\\' ? 2 : 1;
    }
    if (quoted && end >= header.size()) return std::nullopt;
    const absl::string_view value = header.substr(0, end);
    header.remove_prefix(value.size());
    if (absl::EqualsIgnoreCase(found, key)) {
      return quoted ? value : absl::StripTrailingAsciiWhitespace(value);
    }
  }
  return std::nullopt;
}

// The line of a part's header that has its name; empty: none.
absl::string_view DispositionOf(absl::string_view headers) {
  for (const absl::string_view line : absl::StrSplit(headers, "\r\n")) {
    if (absl::StartsWithIgnoreCase(line, "content-disposition:")) return line;
  }
  return "";
}

// Of a part's header: its names, without a content.
absl::StatusOr<FormPart> HeadOf(absl::string_view headers) {
  const absl::string_view disposition = DispositionOf(headers);
  const auto name = Parameter(disposition, "name");
  if (!name.has_value() || name->empty()) {
    return Malformed("a part has no name, expected Content-Disposition: form-data; name=\"...\"");
  }
  return FormPart{
      .name = *name, .content = "", .file_name = Parameter(disposition, "filename").value_or("")};
}

// One part, after its boundary: CRLF, header lines, an empty line, the content. `rest` goes on
// after the next boundary.
absl::StatusOr<FormPart> NextPart(absl::string_view separator, absl::string_view* rest) {
  if (!absl::ConsumePrefix(rest, "\r\n")) return Malformed(kNoLineEnd);
  const std::size_t header_end = rest->substr(0, kMaxPartHeader).find(kHeaderEnd);
  if (header_end == rest->npos) return Malformed(kNoHeaderEnd);
  ASSIGN_OR_RETURN(FormPart part, HeadOf(rest->substr(0, header_end)));
  rest->remove_prefix(header_end + kHeaderEnd.size());
  const std::size_t content_end = rest->find(separator);
  if (content_end == rest->npos) return Malformed(kNoEnd);
  part.content = rest->substr(0, content_end);
  rest->remove_prefix(content_end + separator.size());
  return part;
}

// What stands between the parts; before the first one without the line's end.
absl::StatusOr<std::string> SeparatorOf(absl::string_view content_type) {
  const auto boundary = Parameter(content_type, "boundary");
  if (!boundary.has_value() || boundary->empty() || boundary->size() > kMaxBoundary) {
    return Malformed("expected multipart/form-data; boundary=...");
  }
  return absl::StrCat("\r\n--", *boundary);
}

absl::Status TooManyParts() {
  return Malformed(absl::StrCat("more than ", kMaxFormParts, " parts"));
}

}  // namespace

bool IsForm(absl::string_view content_type) {
  return absl::EqualsIgnoreCase(
      absl::StripAsciiWhitespace(content_type.substr(0, content_type.find(';'))), kForm);
}

absl::StatusOr<std::vector<FormPart>> ParseForm(absl::string_view content_type,
                                                absl::string_view body) {
  ASSIGN_OR_RETURN(const std::string separator, SeparatorOf(content_type));
  absl::string_view rest = body;
  if (!absl::ConsumePrefix(&rest, absl::string_view(separator).substr(2))) {
    return Malformed(kNoBoundary);
  }
  std::vector<FormPart> parts;
  while (!absl::StartsWith(rest, "--")) {
    if (parts.size() == kMaxFormParts) return TooManyParts();
    ASSIGN_OR_RETURN(const FormPart part, NextPart(separator, &rest));
    parts.push_back(part);
  }
  return parts;
}

absl::StatusOr<FormReader> FormReader::Make(absl::string_view content_type) {
  ASSIGN_OR_RETURN(std::string separator, SeparatorOf(content_type));
  return FormReader(std::move(separator));
}

void FormReader::Feed(absl::string_view bytes) {
  buffer_.erase(0, std::exchange(begin_, 0));
  buffer_.append(bytes.data(), bytes.size());
}

absl::StatusOr<std::optional<FormPiece>> FormReader::Next() {
  for (bool has_more = true; has_more;) {
    switch (state_) {
      case State::kBegin: {
        ASSIGN_OR_RETURN(has_more, PassFirstBoundary());
        break;
      }
      case State::kBoundary: {
        ASSIGN_OR_RETURN(has_more, PassBoundary());
        break;
      }
      case State::kHeader:
        return NextHead();
      case State::kContent: {
        std::optional<FormPiece> piece = NextContent();
        if (piece.has_value()) return piece;
        has_more = state_ == State::kBoundary;
        break;
      }
      case State::kEnd:
        begin_ = buffer_.size();
        has_more = false;
        break;
    }
  }
  return std::nullopt;
}

// False: more bytes are needed.
absl::StatusOr<bool> FormReader::PassFirstBoundary() {
  const absl::string_view first = absl::string_view(separator_).substr(2);
  const absl::string_view come = rest().substr(0, first.size());
  if (!absl::StartsWith(first, come)) return Malformed(kNoBoundary);
  if (come.size() < first.size()) return false;
  begin_ += first.size();
  state_ = State::kBoundary;
  return true;
}

// The same, of what comes behind a boundary.
absl::StatusOr<bool> FormReader::PassBoundary() {
  const absl::string_view come = rest().substr(0, 2);
  if (come.size() < 2) return false;
  if (come == "--") {
    state_ = State::kEnd;
    return true;
  }
  if (parts_ == kMaxFormParts) return TooManyParts();
  if (come != "\r\n") return Malformed(kNoLineEnd);
  begin_ += 2;
  state_ = State::kHeader;
  return true;
}

absl::StatusOr<std::optional<FormPiece>> FormReader::NextHead() {
  const absl::string_view come = rest().substr(0, kMaxPartHeader);
  const std::size_t end = come.find(kHeaderEnd);
  if (end == come.npos) {
    if (come.size() == kMaxPartHeader) return Malformed(kNoHeaderEnd);
    return std::nullopt;
  }
  ASSIGN_OR_RETURN(const FormPart head, HeadOf(come.substr(0, end)));
  FormPiece piece{
      .begins = true, .name = std::string(head.name), .file_name = std::string(head.file_name)};
  begin_ += end + kHeaderEnd.size();
  ++parts_;
  state_ = State::kContent;
  return piece;
}

// Nothing: more bytes are needed, or the part has ended. What may be the beginning of a boundary
// waits.
std::optional<FormPiece> FormReader::NextContent() {
  const absl::string_view come = rest();
  const std::size_t end = come.find(separator_);
  if (end == 0) {
    begin_ += separator_.size();
    state_ = State::kBoundary;
    return std::nullopt;
  }
  const std::size_t held = separator_.size() - 1;
  const std::size_t size = end != come.npos ? end : come.size() - std::min(come.size(), held);
  if (size == 0) return std::nullopt;
  begin_ += size;
  return FormPiece{.content = come.substr(0, size)};
}

absl::Status FormReader::Finish() const {
  return state_ == State::kEnd ? absl::OkStatus() : Malformed(kNoEnd);
}

}  // namespace llava::api
