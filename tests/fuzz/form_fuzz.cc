// Any body of a form: its parts have names, lie in the body, in their order, and do not overlap.
// Input: the Content-Type, a line feed, the body.
#include <cstddef>
#include <cstdint>

#include "absl/strings/string_view.h"
#include "base/check.h"
#include "server/api/openai/multipart.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  namespace api = llava::api;
  const absl::string_view input(reinterpret_cast<const char*>(data), size);
  const std::size_t line_feed = input.find('\n');
  if (line_feed == input.npos) return 0;
  const absl::string_view body = input.substr(line_feed + 1);
  (void)api::IsForm(input.substr(0, line_feed));
  const auto parts = api::ParseForm(input.substr(0, line_feed), body);
  if (!parts.ok()) {
    LLAVA_CHECK(parts.status().code() == absl::StatusCode::kInvalidArgument);
    return 0;
  }
  LLAVA_CHECK_LE(parts->size(), api::kMaxFormParts);
  const char* end = body.data();
  for (const api::FormPart& part : *parts) {
    LLAVA_CHECK(!part.name.empty());
    LLAVA_CHECK(part.name.data() >= end);
    LLAVA_CHECK(part.content.data() >= part.name.data() + part.name.size());
    end = part.content.data() + part.content.size();
    LLAVA_CHECK(end <= body.data() + body.size());
  }
  return 0;
}
