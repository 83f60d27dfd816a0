// Between std::string_view and absl::string_view, which are two types where Abseil was built for an
// older standard of C++ than the one that this repository is written in.
#ifndef LLAVA_BASE_STRING_VIEW_H_
#define LLAVA_BASE_STRING_VIEW_H_

#include <string_view>

#include "absl/strings/string_view.h"

namespace llava {

// The same characters, which the caller keeps, of anything that has data() and size(): a view of
// either kind, a string of JSON, gRPC's string_ref.
template <typename Text>
absl::string_view AbslView(const Text& text) {
  return {text.data(), text.size()};
}
template <typename Text>
std::string_view StdView(const Text& text) {
  return {text.data(), text.size()};
}

}  // namespace llava

#endif  // LLAVA_BASE_STRING_VIEW_H_
