// Lines of standard input, with a prompt when somebody types them.
#ifndef LLAVA_CLIENT_LINE_READER_H_
#define LLAVA_CLIENT_LINE_READER_H_

#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <optional>
#include <string>
#include <utility>

namespace llava::client {

class LineReader {
 public:
  explicit LineReader(std::string prompt) : prompt_(std::move(prompt)) {}
  ~LineReader() { std::free(buffer_); }
  LineReader(const LineReader&) = delete;
  LineReader& operator=(const LineReader&) = delete;

  // Without its end; nothing at the end of the input.
  std::optional<std::string> Next() {
    if (isatty(STDIN_FILENO) != 0) std::fputs(prompt_.c_str(), stderr);
    const ssize_t size = getline(&buffer_, &capacity_, stdin);
    if (size < 0) return std::nullopt;
    std::string line(buffer_, static_cast<std::size_t>(size));
    while (!line.empty() && (line.back() == '\n' || line.back() == '\r')) line.pop_back();
    return line;
  }

 private:
  const std::string prompt_;
  char* buffer_ = nullptr;
  std::size_t capacity_ = 0;
};

}  // namespace llava::client

#endif  // LLAVA_CLIENT_LINE_READER_H_
