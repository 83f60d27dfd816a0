#include "training/data/tar/shard_names.h"

#include <charconv>
#include <cstdint>
#include <optional>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace llava::training {
namespace {

constexpr std::int64_t kMaxFiles = 100'000;
constexpr std::size_t kMaxDigits = 12;

// "{000000..000009}" in a name.
struct Range {
  std::size_t begin = 0;  // of the brace
  std::size_t end = 0;    // behind the other
  std::size_t digits = 0;
  std::int64_t first = 0;
  std::int64_t last = 0;
};

// Digits alone.
bool TakeDigits(std::string_view text, std::size_t* at, std::int64_t* number) {
  const std::size_t begin = *at;
  while (*at < text.size() && text[*at] >= '0' && text[*at] <= '9') ++*at;
  if (*at == begin || *at - begin > kMaxDigits) return false;
  std::from_chars(text.data() + begin, text.data() + *at, *number);
  return true;
}

std::optional<Range> RangeAt(std::string_view name, std::size_t brace) {
  Range range{.begin = brace};
  std::size_t at = brace + 1;
  if (!TakeDigits(name, &at, &range.first)) return std::nullopt;
  range.digits = at - brace - 1;
  if (name.substr(at, 2) != "..") return std::nullopt;
  at += 2;
  if (!TakeDigits(name, &at, &range.last) || name.substr(at, 1) != "}") return std::nullopt;
  range.end = at + 1;
  return range;
}

std::optional<Range> NextRange(std::string_view name, std::size_t from) {
  for (std::size_t at = name.find('{', from); at != name.npos; at = name.find('{', at + 1)) {
    if (const auto range = RangeAt(name, at)) return range;
  }
  return std::nullopt;
}

}  // namespace

absl::StatusOr<std::vector<std::string>> ShardNames(const std::string& name) {
  const std::optional<Range> range = NextRange(name, 0);
  if (!range.has_value()) return std::vector<std::string>{name};
  const auto fail = [&](const char* what) {
    return absl::InvalidArgumentError(absl::StrCat(name, ": ", what));
  };
  if (NextRange(name, range->end).has_value()) return fail("has two ranges, expected one");
  if (range->last < range->first) return fail("ends before it begins");
  if (range->last - range->first >= kMaxFiles) return fail("is more than 100000 files");
  std::vector<std::string> names;
  for (std::int64_t number = range->first; number <= range->last; ++number) {
    names.push_back(absl::StrFormat("%s%0*d%s", name.substr(0, range->begin),
                                    static_cast<int>(range->digits), number,
                                    name.substr(range->end)));
  }
  return names;
}

}  // namespace llava::training
