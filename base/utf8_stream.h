// Cuts a stream of bytes into valid UTF-8: what is complete comes out at once, an unfinished
// character waits for its next bytes, and bytes that cannot be part of one become U+FFFD (one per
// maximal subpart, as the Unicode standard recommends and Python's errors="replace" does).
#ifndef LLAVA_BASE_UTF8_STREAM_H_
#define LLAVA_BASE_UTF8_STREAM_H_

#include <string>
#include <string_view>

#include "absl/strings/string_view.h"

namespace llava {

// Not thread-safe. Invariant: the pieces of any split of the input add up to Utf8Repair(input).
class Utf8Stream {
 public:
  // The text that `bytes` completes; possibly empty.
  std::string Push(std::string_view bytes);

  // The end: an unfinished character becomes U+FFFD.
  std::string Finish();

 private:
  std::string pending_;  // at most 3 bytes: a valid but incomplete prefix of one character
};

// The whole text at once.
std::string Utf8Repair(std::string_view bytes);

// True when `bytes` is valid UTF-8.
bool IsValidUtf8(std::string_view bytes);

// `text` behind the byte order mark that editors and shells of Windows put in front of a file.
std::string_view WithoutByteOrderMark(std::string_view text);

// Between std::string_view and absl::string_view, which are two types where Abseil was built for an
// older standard of C++ than the one that this repository is written in.
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

#endif  // LLAVA_BASE_UTF8_STREAM_H_
