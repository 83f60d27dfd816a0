// What numbers of a command line have to be, with errors that say it.
#ifndef LLAVA_BASE_COMMAND_LINE_NUMBERS_H_
#define LLAVA_BASE_COMMAND_LINE_NUMBERS_H_

#include <CLI/CLI.hpp>
#include <string>

#include "absl/strings/numbers.h"

namespace llava {

// --option: expected a number above 0, found -5
inline CLI::Validator Positive() {
  return {[](const std::string& text) {
            double number = 0.0;
            const bool is = absl::SimpleAtod(text, &number) && number > 0.0;
            return is ? std::string() : "expected a number above 0, found " + text;
          },
          "POSITIVE"};
}

// --option: expected a number of at least 0, found -5
inline CLI::Validator NotNegative() {
  return {[](const std::string& text) {
            double number = 0.0;
            const bool is = absl::SimpleAtod(text, &number) && number >= 0.0;
            return is ? std::string() : "expected a number of at least 0, found " + text;
          },
          "NONNEGATIVE"};
}

// Is added after CLI::AsSizeValue, and so goes first: to that a minus is nearly 2^64 bytes.
// --option: expected a size such as 80GiB, found -5
inline CLI::Validator NoMinus() {
  return {[](const std::string& text) {
            const bool is = text.find('-') == std::string::npos;
            return is ? std::string() : "expected a size such as 80GiB, found " + text;
          },
          ""};
}

}  // namespace llava

#endif  // LLAVA_BASE_COMMAND_LINE_NUMBERS_H_
