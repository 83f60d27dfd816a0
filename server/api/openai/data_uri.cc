#include "server/api/openai/data_uri.h"

#include <algorithm>
#include <iterator>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"

namespace llava::api {
namespace {

constexpr absl::string_view kScheme = "data";

// C0 control or space, in the words of the URL standard.
bool IsUrlSpace(char c) { return static_cast<unsigned char>(c) <= 0x20; }

// Whether the part before the comma ends in ";base64", which white space may surround.
bool SaysBase64(absl::string_view header) {
  constexpr absl::string_view kMark = "base64";
  header = StripUrl(header);
  if (!absl::EndsWithIgnoreCase(header, kMark)) return false;
  header = StripUrl(header.substr(0, header.size() - kMark.size()));
  return absl::EndsWith(header, ";");
}

int HexDigit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  const char lower = absl::ascii_tolower(static_cast<unsigned char>(c));
  return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

// A % that two hex digits do not follow stands for itself.
std::string PercentDecoded(absl::string_view text) {
  std::string bytes;
  bytes.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    const int high = text[i] == '%' && i + 2 < text.size() ? HexDigit(text[i + 1]) : -1;
    const int low = high >= 0 ? HexDigit(text[i + 2]) : -1;
    bytes += low >= 0 ? static_cast<char>(high * 16 + low) : text[i];
    if (low >= 0) i += 2;
  }
  return bytes;
}

}  // namespace

absl::string_view StripUrl(absl::string_view url) {
  while (!url.empty() && IsUrlSpace(url.front())) url.remove_prefix(1);
  while (!url.empty() && IsUrlSpace(url.back())) url.remove_suffix(1);
  return url;
}

std::string WithoutLines(absl::string_view url) {
  std::string kept;
  if (url.find_first_of("\t\n\r") == url.npos) return kept;
  kept.reserve(url.size());
  std::copy_if(url.begin(), url.end(), std::back_inserter(kept),
               [](char c) { return c != '\t' && c != '\n' && c != '\r'; });
  return kept;
}

bool HasScheme(absl::string_view url, absl::string_view scheme) {
  return url.size() > scheme.size() && url[scheme.size()] == ':' &&
         absl::StartsWithIgnoreCase(url, scheme);
}

absl::StatusOr<std::string> DecodeDataUri(absl::string_view uri) {
  uri.remove_prefix(kScheme.size() + 1);
  uri = uri.substr(0, uri.find('#'));  // a fragment is no part of the data
  const std::size_t comma = uri.find(',');
  if (comma == uri.npos) return absl::InvalidArgumentError("expected a comma in the data: URI");
  const bool base64 = SaysBase64(uri.substr(0, comma));
  absl::string_view data = uri.substr(comma + 1);
  std::string decoded;
  if (!base64 || absl::StrContains(data, '%')) {
    decoded = PercentDecoded(data);
    data = decoded;
  }
  if (!base64) return decoded;
  std::string bytes;
  if (absl::Base64Unescape(data, &bytes)) return bytes;
  return absl::InvalidArgumentError("expected base64 after the comma");
}

}  // namespace llava::api
