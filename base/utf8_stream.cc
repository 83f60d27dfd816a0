#include "base/utf8_stream.h"

#include <cstddef>
#include <cstdint>

namespace llava {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

enum class Kind { kComplete, kIncomplete, kInvalid };

struct Sequence {
  Kind kind;
  std::size_t length;  // bytes that belong together
};

struct LeadByte {
  std::size_t length;       // of the whole character; 0: not a lead byte
  std::uint8_t second_low;  // range of the second byte (Unicode 15, table 3-7)
  std::uint8_t second_high;
};

LeadByte Classify(std::uint8_t lead) {
  if (lead <= 0x7F) return {1, 0, 0};
  if (lead >= 0xC2 && lead <= 0xDF) return {2, 0x80, 0xBF};
  if (lead == 0xE0) return {3, 0xA0, 0xBF};
  if (lead == 0xED) return {3, 0x80, 0x9F};
  if (lead >= 0xE1 && lead <= 0xEF) return {3, 0x80, 0xBF};
  if (lead == 0xF0) return {4, 0x90, 0xBF};
  if (lead >= 0xF1 && lead <= 0xF3) return {4, 0x80, 0xBF};
  if (lead == 0xF4) return {4, 0x80, 0x8F};
  return {0, 0, 0};
}

// The first sequence of non-empty `bytes`.
Sequence First(std::string_view bytes) {
  const LeadByte lead = Classify(static_cast<std::uint8_t>(bytes[0]));
  if (lead.length == 0) return {Kind::kInvalid, 1};
  for (std::size_t i = 1; i < lead.length; ++i) {
    if (i == bytes.size()) return {Kind::kIncomplete, i};
    const auto byte = static_cast<std::uint8_t>(bytes[i]);
    const std::uint8_t low = i == 1 ? lead.second_low : 0x80;
    const std::uint8_t high = i == 1 ? lead.second_high : 0xBF;
    if (byte < low || byte > high) return {Kind::kInvalid, i};
  }
  return {Kind::kComplete, lead.length};
}

}  // namespace

std::string Utf8Stream::Push(std::string_view bytes) {
  pending_.append(bytes);
  std::string_view rest = pending_;
  std::string out;
  while (!rest.empty()) {
    const Sequence next = First(rest);
    if (next.kind == Kind::kIncomplete) break;
    out.append(next.kind == Kind::kComplete ? rest.substr(0, next.length) : kReplacement);
    rest.remove_prefix(next.length);
  }
  pending_.erase(0, pending_.size() - rest.size());
  return out;
}

std::string Utf8Stream::Finish() {
  if (pending_.empty()) return "";
  pending_.clear();
  return std::string(kReplacement);
}

std::string Utf8Repair(std::string_view bytes) {
  Utf8Stream stream;
  std::string out = stream.Push(bytes);
  return out + stream.Finish();
}

bool IsValidUtf8(std::string_view bytes) {
  while (!bytes.empty()) {
    const Sequence next = First(bytes);
    if (next.kind != Kind::kComplete) return false;
    bytes.remove_prefix(next.length);
  }
  return true;
}

std::string_view WithoutByteOrderMark(std::string_view text) {
  constexpr std::string_view kMark = "\xef\xbb\xbf";
  return text.starts_with(kMark) ? text.substr(kMark.size()) : text;
}

}  // namespace llava
