#include "server/api/openai/multipart.h"

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

// One part, after its boundary: CRLF, header lines, an empty line, the content. `rest` goes on
// after the next boundary.
absl::StatusOr<FormPart> NextPart(absl::string_view separator, absl::string_view* rest) {
  if (!absl::ConsumePrefix(rest, "\r\n"))
    return Malformed("expected a line's end after a boundary");
  const std::size_t header_end = rest->substr(0, kMaxPartHeader).find("\r\n\r\n");
  if (header_end == rest->npos) return Malformed("a part's header has no end");
  const absl::string_view disposition = DispositionOf(rest->substr(0, header_end));
  const auto name = Parameter(disposition, "name");
  if (!name.has_value() || name->empty()) {
    return Malformed("a part has no name, expected Content-Disposition: form-data; name=\"...\"");
  }
  rest->remove_prefix(header_end + 4);
  const std::size_t content_end = rest->find(separator);
  if (content_end == rest->npos) return Malformed("ends before its last boundary");
  const FormPart part{.name = *name,
                      .content = rest->substr(0, content_end),
                      .file_name = Parameter(disposition, "filename").value_or("")};
  rest->remove_prefix(content_end + separator.size());
  return part;
}

}  // namespace

bool IsForm(absl::string_view content_type) {
  return absl::EqualsIgnoreCase(
      absl::StripAsciiWhitespace(content_type.substr(0, content_type.find(';'))), kForm);
}

absl::StatusOr<std::vector<FormPart>> ParseForm(absl::string_view content_type,
                                                absl::string_view body) {
  const auto boundary = Parameter(content_type, "boundary");
  if (!boundary.has_value() || boundary->empty() || boundary->size() > kMaxBoundary) {
    return Malformed("expected multipart/form-data; boundary=...");
  }
  const std::string separator = absl::StrCat("\r\n--", *boundary);
  absl::string_view rest = body;
  if (!absl::ConsumePrefix(&rest, absl::string_view(separator).substr(2))) {
    return Malformed("expected to begin with its boundary");
  }
  std::vector<FormPart> parts;
  while (!absl::StartsWith(rest, "--")) {
    if (parts.size() == kMaxFormParts) {
      return Malformed(absl::StrCat("more than ", kMaxFormParts, " parts"));
    }
    ASSIGN_OR_RETURN(const FormPart part, NextPart(separator, &rest));
    parts.push_back(part);
  }
  return parts;
}

}  // namespace llava::api
