// The bytes of a data: URI (RFC 2397), by its grammar as browsers read it (fetch.spec.whatwg.org,
// "data: URL processor").
#ifndef LLAVA_SERVER_API_OPENAI_DATA_URI_H_
#define LLAVA_SERVER_API_OPENAI_DATA_URI_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace llava::api {

// `url` without the white space that a URL may stand in.
absl::string_view StripUrl(absl::string_view url);

// `url` without tabs and the ends of lines, as the URL standard reads every URL; empty when it has
// none, so that a long one is not copied.
std::string WithoutLines(absl::string_view url);

// Whether the scheme of the stripped `url` is `scheme`, such as "data"; in upper case too.
bool HasScheme(absl::string_view url, absl::string_view scheme);

// REQUIRES: HasScheme(uri, "data"). Media type and parameters may be anything. INVALID_ARGUMENT
// without a comma, and when what is said to be base64 is not.
absl::StatusOr<std::string> DecodeDataUri(absl::string_view uri);

}  // namespace llava::api

#endif  // LLAVA_SERVER_API_OPENAI_DATA_URI_H_
