// Cuts a stream of bytes into valid UTF-8: what is complete comes out at once, an unfinished
// character waits for its next bytes, and bytes that cannot be part of one become U+FFFD (one per
// maximal subpart, as the Unicode standard recommends and Python's errors="replace" does).
#ifndef LLAVA_BASE_UTF8_STREAM_H_
#define LLAVA_BASE_UTF8_STREAM_H_

#include <string>
#include <string_view>

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

}  // namespace llava

#endif  // LLAVA_BASE_UTF8_STREAM_H_
