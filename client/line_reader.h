// Lines of standard input. Somebody who types them gets a prompt, line editing and the lines of
// earlier days.
#ifndef LLAVA_CLIENT_LINE_READER_H_
#define LLAVA_CLIENT_LINE_READER_H_

#include <optional>
#include <string>

namespace llava::client {

// One at a time: the library behind it has global state. Not thread-safe.
class LineReader {
 public:
  // `history`: file that keeps the lines; empty: none is kept.
  LineReader(std::string prompt, std::string history);
  ~LineReader();
  LineReader(const LineReader&) = delete;
  LineReader& operator=(const LineReader&) = delete;

  // Without its end; nothing at the end of the input.
  std::optional<std::string> Next();

 private:
  std::optional<std::string> NextTyped();

  const std::string prompt_;
  const std::string history_;
  const bool typed_;  // by a person at a terminal
  char* buffer_ = nullptr;
  std::size_t capacity_ = 0;
};

// $XDG_STATE_HOME/llava/history, or the same below ~/.local/state; the folder is made. Empty when
// there is no home.
std::string HistoryFile();

}  // namespace llava::client

#endif  // LLAVA_CLIENT_LINE_READER_H_
