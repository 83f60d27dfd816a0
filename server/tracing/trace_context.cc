#include "server/tracing/trace_context.h"

#include <openssl/rand.h>

#include <algorithm>
#include <span>

#include "absl/strings/escaping.h"
#include "absl/strings/string_view.h"
#include "base/check.h"

namespace llava::tracing {
namespace {

// The digits as bytes; false unless they are lower-case hexadecimal digits.
bool ReadHex(std::string_view digits, std::span<std::uint8_t> bytes) {
  const auto value = [](char digit) {
    if (digit >= '0' && digit <= '9') return digit - '0';
    return digit >= 'a' && digit <= 'f' ? digit - 'a' + 10 : -1;
  };
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    const int high = value(digits[2 * i]);
    const int low = value(digits[2 * i + 1]);
    if (high < 0 || low < 0) return false;
    bytes[i] = static_cast<std::uint8_t>(high << 4 | low);
  }
  return true;
}

bool IsZero(std::span<const std::uint8_t> bytes) {
  return std::all_of(bytes.begin(), bytes.end(), [](std::uint8_t byte) { return byte == 0; });
}

// Never all zero, which means none.
template <typename Id>
Id RandomId() {
  Id id{};
  while (IsZero(id)) LLAVA_CHECK_EQ(RAND_bytes(id.data(), static_cast<int>(id.size())), 1);
  return id;
}

}  // namespace

std::optional<TraceContext> ParseTraceparent(std::string_view header) {
  constexpr std::size_t kLength = 55;  // of version 00
  if (header.size() < kLength || header[2] != '-' || header[35] != '-' || header[52] != '-') {
    return std::nullopt;
  }
  std::array<std::uint8_t, 1> version{};
  std::array<std::uint8_t, 1> flags{};
  TraceContext context;
  SpanId parent{};
  if (!ReadHex(header.substr(0, 2), version) || !ReadHex(header.substr(3, 32), context.trace_id) ||
      !ReadHex(header.substr(36, 16), parent) || !ReadHex(header.substr(53, 2), flags)) {
    return std::nullopt;
  }
  const bool longer = header.size() > kLength;
  if (version[0] == 0xFF || (longer && (version[0] == 0 || header[kLength] != '-'))) {
    return std::nullopt;
  }
  if (IsZero(context.trace_id) || IsZero(parent)) return std::nullopt;
  context.parent = parent;
  context.sampled = (flags[0] & 1) != 0;
  return context;
}

TraceContext NewTrace() { return {.trace_id = RandomId<TraceId>(), .parent = std::nullopt}; }

SpanId NewSpanId() { return RandomId<SpanId>(); }

std::string Hex(const TraceId& id) {
  return absl::BytesToHexString(
      absl::string_view(reinterpret_cast<const char*>(id.data()), id.size()));
}

}  // namespace llava::tracing
