// Any text as the URL of a picture: a data: URI has no more bytes than characters, or is an error.
#include <cstddef>
#include <cstdint>

#include "absl/strings/string_view.h"
#include "base/check.h"
#include "server/api/openai/data_uri.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  namespace api = llava::api;
  const absl::string_view text(reinterpret_cast<const char*>(data), size);
  const absl::string_view url = api::StripUrl(text);
  LLAVA_CHECK(url == api::StripUrl(url));
  if (!api::HasScheme(url, "data")) return 0;
  const auto bytes = api::DecodeDataUri(url);
  if (bytes.ok()) {
    LLAVA_CHECK_LT(bytes->size(), url.size());
  } else {
    LLAVA_CHECK(bytes.status().code() == absl::StatusCode::kInvalidArgument);
  }
  return 0;
}
