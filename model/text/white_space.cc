#include "model/text/white_space.h"

namespace llava::model {
namespace {

// The characters whose str.isspace() is true, in UTF-8.
constexpr std::string_view kWhiteSpace[] = {
    "\t",           "\n",           "\v",           "\f",           "\r",
    "\x1C",         "\x1D",         "\x1E",         "\x1F",         " ",
    "\xC2\x85",     "\xC2\xA0",     "\xE1\x9A\x80", "\xE2\x80\x80", "\xE2\x80\x81",
    "\xE2\x80\x82", "\xE2\x80\x83", "\xE2\x80\x84", "\xE2\x80\x85", "\xE2\x80\x86",
    "\xE2\x80\x87", "\xE2\x80\x88", "\xE2\x80\x89", "\xE2\x80\x8A", "\xE2\x80\xA8",
    "\xE2\x80\xA9", "\xE2\x80\xAF", "\xE2\x81\x9F", "\xE3\x80\x80"};

std::size_t SpaceAtFront(std::string_view text) {
  for (const std::string_view space : kWhiteSpace) {
    if (text.starts_with(space)) return space.size();
  }
  return 0;
}

std::size_t SpaceAtBack(std::string_view text) {
  for (const std::string_view space : kWhiteSpace) {
    if (text.ends_with(space)) return space.size();
  }
  return 0;
}

bool IsSeparator(char c) { return c >= '\x1C' && c <= '\x1F'; }

}  // namespace

std::string_view WithoutSpaceAtStart(std::string_view text) {
  while (!text.empty() && !IsSeparator(text.front())) {
    const std::size_t size = SpaceAtFront(text);
    if (size == 0) break;
    text.remove_prefix(size);
  }
  return text;
}

std::string_view WithoutSpaceAtEnd(std::string_view text) {
  while (!text.empty() && !IsSeparator(text.back())) {
    const std::size_t size = SpaceAtBack(text);
    if (size == 0) break;
    text.remove_suffix(size);
  }
  return text;
}

std::string_view StripWhiteSpace(std::string_view text) {
  while (const std::size_t size = SpaceAtFront(text)) text.remove_prefix(size);
  while (const std::size_t size = SpaceAtBack(text)) text.remove_suffix(size);
  return text;
}

}  // namespace llava::model
