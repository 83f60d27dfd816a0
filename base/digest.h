// SHA-256 digests: names for images, prompt prefixes and model versions that nobody can forge,
// so that a cache hit is never somebody else's content.
#ifndef LLAVA_BASE_DIGEST_H_
#define LLAVA_BASE_DIGEST_H_

#include <array>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

namespace llava {

struct Digest {
  std::array<std::uint8_t, 32> bytes{};

  auto operator<=>(const Digest&) const = default;
  std::string Hex() const;  // 64 lower-case digits
};

// Not thread-safe.
class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(const Sha256&) = delete;
  Sha256& operator=(const Sha256&) = delete;

  Sha256& Update(std::string_view bytes);
  Sha256& Update(const Digest& digest);

  // The digest of all bytes so far; the object starts again from nothing.
  Digest Finish();

 private:
  struct Context;
  std::unique_ptr<Context> context_;
};

Digest Sha256Of(std::string_view bytes);

}  // namespace llava

template <>
struct std::hash<llava::Digest> {
  std::size_t operator()(const llava::Digest& digest) const noexcept {
    std::size_t value;
    std::memcpy(&value, digest.bytes.data(), sizeof(value));
    return value;
  }
};

#endif  // LLAVA_BASE_DIGEST_H_
