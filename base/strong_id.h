// Integers that cannot be mixed up: StrongId<struct BlockTag> and StrongId<struct SequenceTag> do
// not convert into each other or from an int.
#ifndef LLAVA_BASE_STRONG_ID_H_
#define LLAVA_BASE_STRONG_ID_H_

#include <compare>
#include <cstdint>
#include <functional>
#include <ostream>

namespace llava {

template <typename Tag, typename Rep = std::int64_t>
class StrongId {
 public:
  constexpr StrongId() = default;
  constexpr explicit StrongId(Rep value) : value_(value) {}

  constexpr Rep value() const { return value_; }
  constexpr auto operator<=>(const StrongId&) const = default;

  friend std::ostream& operator<<(std::ostream& out, StrongId id) { return out << id.value_; }

 private:
  Rep value_ = 0;
};

}  // namespace llava

template <typename Tag, typename Rep>
struct std::hash<llava::StrongId<Tag, Rep>> {
  std::size_t operator()(llava::StrongId<Tag, Rep> id) const noexcept {
    return std::hash<Rep>()(id.value());
  }
};

#endif  // LLAVA_BASE_STRONG_ID_H_
