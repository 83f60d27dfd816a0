// Any body of a form: its parts have names, lie in the body, in their order, and do not overlap;
// and where it comes in pieces it is the same form. Input: the Content-Type, a line feed, the body.
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/check.h"
#include "server/api/openai/multipart.h"

namespace {

// The parts of a body that comes in pieces of so many bytes: each name in brackets, its content.
// Nothing: it is no form.
std::optional<std::string> Streamed(absl::string_view type, absl::string_view body,
                                    std::size_t piece) {
  namespace api = llava::api;
  auto reader = api::FormReader::Make(type);
  if (!reader.ok()) return std::nullopt;
  std::string text;
  for (std::size_t begin = 0; begin < body.size(); begin += piece) {
    reader->Feed(body.substr(begin, piece));
    for (;;) {
      const auto next = reader->Next();
      if (!next.ok()) return std::nullopt;
      if (!next->has_value()) break;
      if ((*next)->begins) absl::StrAppend(&text, "[", (*next)->name, "]");
      absl::StrAppend(&text, (*next)->content);
    }
  }
  if (!reader->Finish().ok()) return std::nullopt;
  return text;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  namespace api = llava::api;
  const absl::string_view input(reinterpret_cast<const char*>(data), size);
  const std::size_t line_feed = input.find('\n');
  if (line_feed == input.npos) return 0;
  const absl::string_view body = input.substr(line_feed + 1);
  (void)api::IsForm(input.substr(0, line_feed));
  const auto parts = api::ParseForm(input.substr(0, line_feed), body);
  const std::size_t piece = 1 + size % 7;
  const auto streamed = Streamed(input.substr(0, line_feed), body, piece);
  LLAVA_CHECK(streamed.has_value() == parts.ok());
  if (!parts.ok()) {
    LLAVA_CHECK(parts.status().code() == absl::StatusCode::kInvalidArgument);
    return 0;
  }
  LLAVA_CHECK_LE(parts->size(), api::kMaxFormParts);
  std::string text;
  const char* end = body.data();
  for (const api::FormPart& part : *parts) {
    LLAVA_CHECK(!part.name.empty());
    absl::StrAppend(&text, "[", part.name, "]", part.content);
    LLAVA_CHECK(part.name.data() >= end);
    LLAVA_CHECK(part.content.data() >= part.name.data() + part.name.size());
    end = part.content.data() + part.content.size();
    LLAVA_CHECK(end <= body.data() + body.size());
  }
  LLAVA_CHECK(text == *streamed);
  return 0;
}
