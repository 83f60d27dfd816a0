// Values of options as text, both ways.
#include <charconv>
#include <limits>
#include <optional>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/status_macros.h"
#include "server/config/config_table.h"

namespace llava::server {
namespace {

struct Suffix {
  absl::string_view name;
  std::int64_t factor;
};

// The longest first, so that "ms" is not taken for "s".
constexpr Suffix kDurations[] = {{"ms", 1}, {"h", 3'600'000}, {"m", 60'000}, {"s", 1000}};
constexpr Suffix kBytes[] = {{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"", 1}};
constexpr Suffix kPlain[] = {{"", 1}};

constexpr absl::string_view kAuto = "auto";

// The whole of "<digits><suffix>", times the suffix's factor.
std::optional<std::int64_t> ParseNumber(absl::string_view text, std::span<const Suffix> suffixes) {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc()) return std::nullopt;
  const absl::string_view rest = text.substr(static_cast<std::size_t>(end - text.data()));
  for (const Suffix& suffix : suffixes) {
    std::int64_t scaled = 0;
    if (rest != suffix.name) continue;
    if (__builtin_mul_overflow(value, suffix.factor, &scaled)) return std::nullopt;
    return scaled;
  }
  return std::nullopt;
}

// In the largest unit that is exact.
std::string FormatNumber(std::int64_t value, std::span<const Suffix> suffixes) {
  const Suffix* best = nullptr;
  for (const Suffix& suffix : suffixes) {
    if (value % suffix.factor != 0) continue;
    if (best == nullptr || suffix.factor > best->factor) best = &suffix;
  }
  return absl::StrCat(value / best->factor, best->name);
}

std::span<const Suffix> IntegerSuffixes(const Option& option) {
  if (option.unit == Unit::kBytes) return kBytes;
  return kPlain;
}

std::string FormatDuration(std::int64_t milliseconds) {
  return milliseconds == 0 ? "0s" : FormatNumber(milliseconds, kDurations);
}

std::int64_t Milliseconds(Duration duration) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(duration).count();
}

// As YAML reads it back: a line break that stood there as it is would become a space.
std::string Quote(absl::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < ' ' || byte == 0x7f) {
      absl::StrAppend(&out, "\\x", absl::Hex(byte, absl::kZeroPad2));
      continue;
    }
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return out + '"';
}

absl::Status SetValue(const Option& option, const std::string& text, bool* value) {
  if (text != "true" && text != "false") {
    return absl::InvalidArgumentError(absl::StrCat("expected ", Expected(option)));
  }
  *value = text == "true";
  return absl::OkStatus();
}

absl::StatusOr<std::int64_t> NumberInRange(const Option& option, const std::string& text,
                                           std::span<const Suffix> suffixes) {
  const std::optional<std::int64_t> number = ParseNumber(text, suffixes);
  if (!number.has_value() || *number < option.range.min || *number > option.range.max) {
    return absl::InvalidArgumentError(absl::StrCat("expected ", Expected(option)));
  }
  return *number;
}

absl::Status SetValue(const Option& option, const std::string& text, std::int64_t* value) {
  const auto number = NumberInRange(option, text, IntegerSuffixes(option));
  if (number.ok()) *value = *number;
  return number.status();
}

absl::Status SetValue(const Option& option, const std::string& text,
                      std::optional<std::int64_t>* value) {
  if (text == kAuto) {
    value->reset();
    return absl::OkStatus();
  }
  const auto number = NumberInRange(option, text, IntegerSuffixes(option));
  if (number.ok()) *value = *number;
  return number.status();
}

absl::Status SetValue(const Option& option, const std::string& text, Duration* value) {
  const auto number = NumberInRange(option, text, kDurations);
  if (number.ok()) *value = std::chrono::milliseconds(*number);
  return number.status();
}

absl::Status SetValue(const Option& option, const std::string& text,
                      std::optional<Duration>* value) {
  if (text == kAuto) {
    value->reset();
    return absl::OkStatus();
  }
  Duration set;
  RETURN_IF_ERROR(SetValue(option, text, &set));
  *value = set;
  return absl::OkStatus();
}

absl::Status SetValue(const Option& option, const std::string& text, std::string* value) {
  if (!option.choices.empty()) {
    bool known = false;
    for (const absl::string_view choice : option.choices) known = known || choice == text;
    if (!known) return absl::InvalidArgumentError(absl::StrCat("expected ", Expected(option)));
  }
  *value = text;
  return absl::OkStatus();
}

absl::Status SetValue(const Option&, const std::string& text, std::vector<std::string>* value) {
  value->push_back(text);
  return absl::OkStatus();
}

absl::Status SetValue(const Option& option, const std::string& text,
                      std::map<std::string, std::string>* value) {
  const std::size_t at = text.find('=');
  if (at == text.npos || at == 0) {
    return absl::InvalidArgumentError(absl::StrCat("expected ", Expected(option)));
  }
  const auto [item, is_new] = value->emplace(text.substr(0, at), text.substr(at + 1));
  if (is_new) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("\"", item->first, "\" comes twice"));
}

struct Formatter {
  const Option& option;
  std::string operator()(const bool* value) const { return *value ? "true" : "false"; }
  std::string operator()(const std::int64_t* value) const {
    return FormatNumber(*value, IntegerSuffixes(option));
  }
  std::string operator()(const std::optional<std::int64_t>* value) const {
    if (!value->has_value()) return std::string(kAuto);
    return FormatNumber(**value, IntegerSuffixes(option));
  }
  std::string operator()(const Duration* value) const {
    return FormatDuration(Milliseconds(*value));
  }
  std::string operator()(const std::optional<Duration>* value) const {
    return value->has_value() ? (*this)(&**value) : std::string(kAuto);
  }
  std::string operator()(const std::string* value) const {
    return option.choices.empty() ? Quote(*value) : *value;
  }
  std::string operator()(const std::vector<std::string>* value) const {
    std::vector<std::string> quoted;
    for (const std::string& item : *value) quoted.push_back(Quote(item));
    return absl::StrCat("[", absl::StrJoin(quoted, ", "), "]");
  }
  std::string operator()(const std::map<std::string, std::string>* value) const {
    std::vector<std::string> items;
    for (const auto& [name, text] : *value) {
      items.push_back(absl::StrCat(Quote(name), ": ", Quote(text)));
    }
    return absl::StrCat("{", absl::StrJoin(items, ", "), "}");
  }
};

struct Expectation {
  const Option& option;
  std::string operator()(const bool*) const { return "true or false"; }
  std::string operator()(const std::int64_t*) const {
    const bool bytes = option.unit == Unit::kBytes;
    const auto suffixes = IntegerSuffixes(option);
    return absl::StrCat(bytes                          ? "bytes (such as 4096, 64MiB or 2GiB)"
                        : option.unit == Unit::kPixels ? "a number of pixels"
                                                       : "an integer",
                        " in [", FormatNumber(option.range.min, suffixes), ", ",
                        FormatNumber(option.range.max, suffixes), "]");
  }
  std::string operator()(const std::optional<std::int64_t>*) const {
    constexpr const std::int64_t* kNumber = nullptr;
    return absl::StrCat(kAuto, ", or ", (*this)(kNumber));
  }
  std::string operator()(const Duration*) const {
    return absl::StrCat("a duration (such as 500ms, 30s, 5m or 1h) in [",
                        FormatDuration(option.range.min), ", ", FormatDuration(option.range.max),
                        "]");
  }
  std::string operator()(const std::optional<Duration>*) const {
    constexpr const Duration* kDuration = nullptr;
    return absl::StrCat(kAuto, ", or ", (*this)(kDuration));
  }
  std::string operator()(const std::string*) const {
    if (option.choices.empty()) return "text";
    return absl::StrCat("one of ", absl::StrJoin(option.choices, ", "));
  }
  std::string operator()(const std::vector<std::string>*) const { return "a list of text"; }
  std::string operator()(const std::map<std::string, std::string>*) const {
    return "a mapping of names to text (NAME=TEXT, with commas, in a flag or variable)";
  }
};

}  // namespace

std::string Expected(const Option& option) {
  const Config any;
  return std::visit([&](auto member) { return Expectation{option}(&(any.*member)); },
                    option.member);
}

absl::Status SetScalar(const Option& option, const std::string& text, Config* config) {
  return std::visit([&](auto member) { return SetValue(option, text, &(config->*member)); },
                    option.member);
}

std::string FormatValue(const Option& option, const Config& config) {
  return std::visit([&](auto member) { return Formatter{option}(&(config.*member)); },
                    option.member);
}

}  // namespace llava::server
