// The table of options: what config.h promises, and the flags of the command line, are read from
// here. Each section of the table has a file of its own, <section>_options.cc.
#ifndef LLAVA_SERVER_CONFIG_CONFIG_TABLE_H_
#define LLAVA_SERVER_CONFIG_CONFIG_TABLE_H_

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "server/config/config.h"

namespace llava::server {

// Where the value of an option lives. The type of the member is the option's type; no value of an
// optional one is written `auto`.
using Member =
    std::variant<bool Config::*, std::int64_t Config::*, std::optional<std::int64_t> Config::*,
                 Duration Config::*, std::optional<Duration> Config::*, std::string Config::*,
                 std::vector<std::string> Config::*, std::map<std::string, std::string> Config::*>;

// What a number counts: kNone for options that are no numbers, kMilliseconds for durations.
enum class Unit : std::uint8_t { kNone, kCount, kBytes, kPixels, kMilliseconds };

// The least and the greatest value, in the unit of the option; both are allowed.
struct Range {
  std::int64_t min = 0;
  std::int64_t max = 0;
};

// One row. `choices`: when not empty, the only values that this text may have.
struct Option {
  absl::string_view name;
  Member member;
  absl::string_view help;
  Unit unit = Unit::kNone;
  Range range = {};
  std::span<const absl::string_view> choices = {};
};

struct Section {
  absl::string_view name;
  std::span<const Option> options;
};

// In the order of the documentation.
std::span<const Section> Sections();

// Null when there is no such option.
const Option* FindOption(absl::string_view name);

// The flag of an option: "--vision-tower" of "vision_tower".
std::string FlagOf(const Option& option);

// "an integer in [1, 64]", "true or false", "one of auto, float32", ...
std::string Expected(const Option& option);

// Reads one scalar into the option; a list gets one more item, a mapping one more NAME=VALUE. The
// error says what was expected, without a place.
absl::Status SetScalar(const Option& option, const std::string& text, Config* config);

// As YAML: 30s, 64MiB, "text", [a, b].
std::string FormatValue(const Option& option, const Config& config);

}  // namespace llava::server

#endif  // LLAVA_SERVER_CONFIG_CONFIG_TABLE_H_
