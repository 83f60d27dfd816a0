// Reads numbers out of a file's bytes. Reading past the end gives zero and sets `failed`, so that a
// parser checks once, at the end of a group of fields.
#ifndef LLAVA_MODEL_IMAGE_BYTE_READER_H_
#define LLAVA_MODEL_IMAGE_BYTE_READER_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace llava::model {

// Views the bytes, which must outlive it. Not thread-safe.
class ByteReader {
 public:
  enum class Order { kLittle, kBig };

  ByteReader(std::string_view bytes, Order order) : bytes_(bytes), order_(order) {}

  bool failed() const { return failed_; }
  std::size_t position() const { return position_; }
  std::size_t remaining() const { return bytes_.size() - position_; }

  void Seek(std::size_t position) {
    failed_ |= position > bytes_.size();
    position_ = std::min(position, bytes_.size());
  }
  void Skip(std::size_t count) { Take(count); }

  std::uint32_t U8() { return Number(1); }
  std::uint32_t U16() { return Number(2); }
  std::uint32_t U24() { return Number(3); }
  std::uint32_t U32() { return Number(4); }

  // The next `count` bytes, or what is left of them.
  std::string_view Take(std::size_t count) {
    failed_ |= count > remaining();
    const std::string_view taken = bytes_.substr(position_, count);
    position_ += taken.size();
    return taken;
  }

 private:
  std::uint32_t Number(std::size_t width) {
    if (width > remaining()) {
      failed_ = true;
      position_ = bytes_.size();
      return 0;
    }
    std::uint32_t value = 0;
    for (std::size_t i = 0; i < width; ++i) {
      const std::size_t at = order_ == Order::kBig ? i : width - 1 - i;
      value = value << 8 | static_cast<std::uint8_t>(bytes_[position_ + at]);
    }
    position_ += width;
    return value;
  }

  std::string_view bytes_;
  std::size_t position_ = 0;
  Order order_;
  bool failed_ = false;
};

}  // namespace llava::model

#endif  // LLAVA_MODEL_IMAGE_BYTE_READER_H_
