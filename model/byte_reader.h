// Reads little-endian numbers and slices from untrusted bytes, never beyond their end.
#ifndef LLAVA_MODEL_BYTE_READER_H_
#define LLAVA_MODEL_BYTE_READER_H_

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string_view>

namespace llava::model {

// Not thread-safe. After a read beyond the end ok() is false, and every read gives zeros or
// nothing.
class ByteReader {
 public:
  explicit ByteReader(std::string_view bytes, std::size_t at = 0)
      : bytes_(bytes), at_(at), ok_(at <= bytes.size()) {}

  bool ok() const { return ok_; }
  std::size_t at() const { return at_; }
  std::size_t left() const { return ok_ ? bytes_.size() - at_ : 0; }

  // T: an integer type.
  template <typename T>
  T Read() {
    T value{};
    const std::string_view raw = Take(sizeof(T));
    if (!raw.empty()) std::memcpy(&value, raw.data(), sizeof(T));
    return value;
  }

  std::string_view Take(std::uint64_t size) {
    if (size > left()) {
      ok_ = false;
      return {};
    }
    const std::string_view taken = bytes_.substr(at_, size);
    at_ += size;
    return taken;
  }

  // Up to the next '\n', which is read and left out.
  std::string_view TakeLine() {
    const std::size_t end = ok_ ? bytes_.find('\n', at_) : std::string_view::npos;
    if (end == std::string_view::npos) {
      ok_ = false;
      return {};
    }
    const std::string_view line = Take(end - at_);
    Take(1);
    return line;
  }

 private:
  const std::string_view bytes_;
  std::size_t at_;
  bool ok_;
};

}  // namespace llava::model

#endif  // LLAVA_MODEL_BYTE_READER_H_
