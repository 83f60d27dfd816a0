// Reads numbers and slices from untrusted bytes, never beyond their end.
#ifndef LLAVA_BASE_BYTE_READER_H_
#define LLAVA_BASE_BYTE_READER_H_

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace llava {

// Views the bytes, which must outlive it. A read that would go beyond the end makes ok() false for
// good, and every read from then on gives zero or nothing: a parser checks once, after a group of
// fields. Not thread-safe.
class ByteReader {
 public:
  enum class Order { kLittle, kBig };

  explicit ByteReader(std::string_view bytes, Order order = Order::kLittle)
      : bytes_(bytes), order_(order) {}

  bool ok() const { return ok_; }
  // Offset of the next byte from the start.
  std::size_t position() const { return position_; }
  // Bytes that may still be read; 0 once ok() is false.
  std::size_t remaining() const { return bytes_.size() - position_; }

  void Seek(std::size_t position) {
    if (position > bytes_.size()) return Fail();
    if (ok_) position_ = position;
  }
  void Skip(std::uint64_t count) { Take(count); }

  std::uint8_t U8() { return static_cast<std::uint8_t>(Number(1)); }
  std::uint16_t U16() { return static_cast<std::uint16_t>(Number(2)); }
  std::uint32_t U24() { return static_cast<std::uint32_t>(Number(3)); }
  std::uint32_t U32() { return static_cast<std::uint32_t>(Number(4)); }
  std::uint64_t U64() { return Number(8); }

  // The next `count` bytes: all of them or none.
  std::string_view Take(std::uint64_t count) {
    if (count > remaining()) {
      Fail();
      return {};
    }
    const std::string_view taken = bytes_.substr(position_, count);
    position_ += taken.size();
    return taken;
  }

  // What stands before the next '\n', which is skipped.
  std::string_view TakeLine() {
    const std::size_t end = bytes_.find('\n', position_);
    if (end == std::string_view::npos) {
      Fail();
      return {};
    }
    const std::string_view line = Take(end - position_);
    Skip(1);
    return line;
  }

 private:
  void Fail() {
    ok_ = false;
    position_ = bytes_.size();
  }

  std::uint64_t Number(std::size_t width) {
    const std::string_view taken = Take(width);
    std::uint64_t value = 0;
    for (std::size_t i = 0; i < taken.size(); ++i) {
      const std::size_t at = order_ == Order::kBig ? i : width - 1 - i;
      value = value << 8 | static_cast<std::uint8_t>(taken[at]);
    }
    return value;
  }

  std::string_view bytes_;
  std::size_t position_ = 0;
  Order order_;
  bool ok_ = true;
};

}  // namespace llava

#endif  // LLAVA_BASE_BYTE_READER_H_
