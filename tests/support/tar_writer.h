// Tar archives for tests, byte by byte, also such as no program writes.
#ifndef LLAVA_TESTS_SUPPORT_TAR_WRITER_H_
#define LLAVA_TESTS_SUPPORT_TAR_WRITER_H_

#include <cstdio>
#include <string>
#include <string_view>

#include "absl/strings/str_cat.h"

namespace llava::test {

// A field of `width` bytes: octal digits and a zero.
inline std::string Octal(unsigned long long value, std::size_t width) {
  std::string digits(width, '0');
  for (std::size_t at = width - 1; at-- > 0; value /= 8) {
    digits[at] = static_cast<char>('0' + value % 8);
  }
  digits[width - 1] = '\0';
  return digits;
}

// With the right checksum.
inline std::string Summed(std::string block) {
  block.replace(148, 8, 8, ' ');
  unsigned sum = 0;
  for (const char c : block) sum += static_cast<unsigned char>(c);
  const std::string digits = Octal(sum, 7) + " ";
  return block.replace(148, 8, digits.data(), 8);
}

// A header of ustar. `name` is cut to 100 bytes, `prefix` to 155.
inline std::string TarBlock(std::string_view name, unsigned long long size, char type = '0',
                            std::string_view prefix = "") {
  std::string block(512, '\0');
  const auto put = [&block](std::size_t at, std::string_view text, std::size_t most) {
    text = text.substr(0, most);
    block.replace(at, text.size(), text.data(), text.size());
  };
  put(0, name, 100);
  put(100, Octal(0644, 8), 8);
  put(108, Octal(0, 8), 8);
  put(116, Octal(0, 8), 8);
  put(124, Octal(size, 12), 12);
  put(136, Octal(1'700'000'000, 12), 12);
  block[156] = type;
  put(257, std::string_view("ustar\00000", 8), 8);
  put(345, prefix, 155);
  return Summed(std::move(block));
}

inline std::string Padded(std::string_view data) {
  std::string padded(data);
  padded.resize((data.size() + 511) / 512 * 512, '\0');
  return padded;
}

inline std::string TarMember(std::string_view name, std::string_view data) {
  return TarBlock(name, data.size()) + Padded(data);
}

// As GNU tar writes a name of any length.
inline std::string GnuMember(std::string_view name, std::string_view data) {
  const std::string long_name = std::string(name) + '\0';
  return TarBlock("././@LongLink", long_name.size(), 'L') + Padded(long_name) +
         TarMember(name, data);
}

// "LENGTH KEY=VALUE\n", where the length counts itself.
inline std::string PaxRecord(std::string_view key, std::string_view value) {
  const std::string rest = absl::StrCat(" ", absl::string_view(key.data(), key.size()), "=",
                                        absl::string_view(value.data(), value.size()), "\n");
  std::size_t length = rest.size() + 1;
  while (absl::StrCat(length).size() + rest.size() != length) ++length;
  return absl::StrCat(length, rest);
}

// As pax writes it: the name in a header in front, which may say more.
inline std::string PaxMember(std::string_view name, std::string_view data,
                             std::string_view more = "") {
  const std::string records = PaxRecord("path", name) + std::string(more);
  return TarBlock("PaxHeaders/x", records.size(), 'x') + Padded(records) +
         TarMember(name.substr(0, 20), data);
}

inline std::string TarEnd() { return std::string(1024, '\0'); }

}  // namespace llava::test

#endif  // LLAVA_TESTS_SUPPORT_TAR_WRITER_H_
