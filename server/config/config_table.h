// The table of options: what config.h promises is read from here.
#ifndef LLAVA_SERVER_CONFIG_CONFIG_TABLE_H_
#define LLAVA_SERVER_CONFIG_CONFIG_TABLE_H_

#include <cstdint>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "server/config/config.h"

namespace llava::server {

// Where the value of an option lives. The type is the option's type.
using Field =
    std::variant<bool*, std::int64_t*, Duration*, std::string*, std::vector<std::string>*>;

enum class Unit { kNone, kBytes, kPixels };

struct Option {
  absl::string_view section;
  absl::string_view name;
  Field (*field)(Config&);
  absl::string_view help;
  Unit unit = Unit::kNone;
  // Integers (in the unit) and durations (in milliseconds).
  std::int64_t min = 0;
  std::int64_t max = 0;
  // Strings: when not empty, the only values allowed.
  std::vector<absl::string_view> choices = {};
};

// In the order of the documentation.
std::span<const Option> Options();

// Null when there is no such option.
const Option* FindOption(absl::string_view name);

// "an integer in [1, 64]", "true or false", "one of auto, float32", ...
std::string Expected(const Option& option);

// Reads one scalar into the option. The error says what was expected, without a place.
absl::Status SetScalar(const Option& option, const std::string& text, Config* config);

// As YAML: 30s, 64MiB, "text", [a, b].
std::string FormatValue(const Option& option, const Config& config);

}  // namespace llava::server

#endif  // LLAVA_SERVER_CONFIG_CONFIG_TABLE_H_
