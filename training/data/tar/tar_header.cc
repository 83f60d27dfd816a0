#include "training/data/tar/tar_header.h"

#include <algorithm>
#include <charconv>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status_macros.h"
#include "base/utf8_stream.h"

namespace llava::training {
namespace {

constexpr std::uint64_t kMaxSize = std::uint64_t{1} << 62;

// Where the fields lie.
constexpr std::size_t kNameAt = 0, kNameSize = 100;
constexpr std::size_t kSizeAt = 124, kNumberSize = 12;
constexpr std::size_t kChecksumAt = 148, kChecksumSize = 8;
constexpr std::size_t kTypeAt = 156;
constexpr std::size_t kMagicAt = 257;
constexpr std::size_t kPrefixAt = 345, kPrefixSize = 155;

// A field's text ends at its first zero, or with the field.
std::string_view TextOf(std::string_view field) { return field.substr(0, field.find('\0')); }

// Octal digits between spaces and zeros; an empty field is 0.
std::optional<std::uint64_t> Octal(std::string_view field) {
  std::string_view digits = TextOf(field);
  while (!digits.empty() && digits.front() == ' ') digits.remove_prefix(1);
  while (!digits.empty() && digits.back() == ' ') digits.remove_suffix(1);
  std::uint64_t value = 0;
  if (digits.empty()) return value;
  const char* end = digits.data() + digits.size();
  const auto [at, error] = std::from_chars(digits.data(), end, value, 8);
  if (error != std::errc() || at != end) return std::nullopt;
  return value;
}

// GNU's: a bit that says so, then a big-endian number.
std::optional<std::uint64_t> Base256(std::string_view field) {
  std::uint64_t value = static_cast<unsigned char>(field.front()) & 0x7FU;
  if (value & 0x40U) return std::nullopt;  // negative
  for (const char c : field.substr(1)) {
    if (value >> 55U) return std::nullopt;
    value = value << 8U | static_cast<unsigned char>(c);
  }
  return value;
}

std::optional<std::uint64_t> Number(std::string_view field) {
  const bool binary = (static_cast<unsigned char>(field.front()) & 0x80U) != 0;
  return binary ? Base256(field) : Octal(field);
}

// The sum of all bytes, the checksum's own being spaces. Old programs added signed bytes.
bool ChecksumFits(std::string_view block) {
  const auto stated = Octal(block.substr(kChecksumAt, kChecksumSize));
  if (!stated || *stated > kTarBlock * 255) return false;
  std::int64_t plain = 0, with_sign = 0;
  for (std::size_t i = 0; i < block.size(); ++i) {
    const bool own = i >= kChecksumAt && i < kChecksumAt + kChecksumSize;
    const char c = own ? ' ' : block[i];
    plain += static_cast<unsigned char>(c);
    with_sign += static_cast<signed char>(c);
  }
  const auto sum = static_cast<std::int64_t>(*stated);
  return sum == plain || sum == with_sign;
}

}  // namespace

absl::StatusOr<std::optional<TarHeader>> ParseTarHeader(std::string_view block) {
  LLAVA_CHECK_EQ(block.size(), kTarBlock);
  if (std::all_of(block.begin(), block.end(), [](char c) { return c == '\0'; })) {
    return std::optional<TarHeader>();
  }
  if (!ChecksumFits(block)) {
    return absl::InvalidArgumentError("no header of a tar: its checksum is wrong");
  }
  TarHeader header;
  const auto size = Number(block.substr(kSizeAt, kNumberSize));
  if (!size || *size > kMaxSize) {
    return absl::InvalidArgumentError("the size in the header is no number that a file can have");
  }
  header.size = *size;
  header.type = block[kTypeAt] == '\0' ? '0' : block[kTypeAt];
  header.name = TextOf(block.substr(kNameAt, kNameSize));
  // GNU's own magic is "ustar  ": it has times where POSIX has the prefix.
  const std::string_view prefix = TextOf(block.substr(kPrefixAt, kPrefixSize));
  if (block.substr(kMagicAt, 6) == std::string_view("ustar\0", 6) && !prefix.empty()) {
    header.name = absl::StrCat(AbslView(prefix), "/", header.name);
  }
  if (header.type == '0' && header.name.ends_with('/')) header.type = '5';
  return std::optional(std::move(header));
}

absl::StatusOr<PaxRecords> ParsePax(std::string_view records) {
  const absl::Status broken = absl::InvalidArgumentError("broken records of a pax header");
  PaxRecords found;
  while (!records.empty()) {
    std::size_t length = 0;
    const auto [at, error] =
        std::from_chars(records.data(), records.data() + records.size(), length);
    const auto digits = static_cast<std::size_t>(at - records.data());
    if (error != std::errc() || length > records.size() || length < digits + 3) return broken;
    std::string_view record = records.substr(0, length);
    records.remove_prefix(length);
    if (record[digits] != ' ' || record.back() != '\n') return broken;
    record = record.substr(digits + 1, length - digits - 2);
    const std::size_t equals = record.find('=');
    if (equals == record.npos) return broken;
    const std::string_view key = record.substr(0, equals);
    const std::string_view value = record.substr(equals + 1);
    if (key == "path") found.path = std::string(value);
    if (key.starts_with("GNU.sparse.")) found.is_sparse = true;
    if (key != "size") continue;
    std::uint64_t size = 0;
    const auto [end, wrong] = std::from_chars(value.data(), value.data() + value.size(), size);
    if (wrong != std::errc() || end != value.data() + value.size() || size > kMaxSize) {
      return broken;
    }
    found.size = size;
  }
  return found;
}

}  // namespace llava::training
