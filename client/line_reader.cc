#include "client/line_reader.h"

#include <editline/readline.h>
#include <unistd.h>

#include <clocale>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <utility>

namespace llava::client {
namespace {

constexpr int kMaxHistory = 1000;

std::string Variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

}  // namespace

LineReader::LineReader(std::string prompt, std::string history)
    : prompt_(std::move(prompt)),
      history_(std::move(history)),
      typed_(isatty(STDIN_FILENO) != 0 && isatty(STDERR_FILENO) != 0) {
  if (!typed_) return;
  std::setlocale(LC_CTYPE, "");
  rl_outstream = stderr;  // standard output is for answers
  using_history();
  stifle_history(kMaxHistory);
  if (!history_.empty()) read_history(history_.c_str());
}

LineReader::~LineReader() { std::free(buffer_); }

std::optional<std::string> LineReader::Next() {
  if (typed_) return NextTyped();
  const ssize_t size = getline(&buffer_, &capacity_, stdin);
  if (size < 0) return std::nullopt;
  std::string line(buffer_, static_cast<std::size_t>(size));
  while (!line.empty() && (line.back() == '\n' || line.back() == '\r')) line.pop_back();
  return line;
}

std::optional<std::string> LineReader::NextTyped() {
  char* const typed = readline(prompt_.c_str());
  if (typed == nullptr) return std::nullopt;
  std::string line = typed;
  std::free(typed);
  if (line.empty()) return line;
  add_history(line.c_str());
  if (!history_.empty()) write_history(history_.c_str());
  return line;
}

std::string HistoryFile() {
  std::filesystem::path folder = Variable("XDG_STATE_HOME");
  if (folder.empty()) {
    const std::string home = Variable("HOME");
    if (home.empty()) return "";
    folder = std::filesystem::path(home) / ".local/state";
  }
  folder /= "llava";
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  std::filesystem::permissions(folder, std::filesystem::perms::owner_all, error);
  return error ? "" : (folder / "history").string();
}

}  // namespace llava::client
