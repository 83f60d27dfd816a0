// A seeded random number generator whose results are the same on every platform and library
// (std distributions are not). xoshiro256** by Blackman and Vigna, seeded through SplitMix64.
#ifndef LLAVA_BASE_RNG_H_
#define LLAVA_BASE_RNG_H_

#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <utility>

#include "base/check.h"

namespace llava {

// Not thread-safe. Copyable: a copy continues the same stream. `state()` round-trips.
class Rng {
 public:
  using State = std::array<std::uint64_t, 4>;

  explicit Rng(std::uint64_t seed) {
    for (auto& word : state_) {
      seed += 0x9E3779B97F4A7C15u;
      std::uint64_t z = seed;
      z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
      z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
      word = z ^ (z >> 31);
    }
  }
  explicit Rng(const State& state) : state_(state) {}

  const State& state() const { return state_; }

  std::uint64_t Next() {
    const std::uint64_t result = std::rotl(state_[1] * 5, 7) * 9;
    const std::uint64_t t = state_[1] << 17;
    state_[2] ^= state_[0];
    state_[3] ^= state_[1];
    state_[1] ^= state_[2];
    state_[0] ^= state_[3];
    state_[2] ^= t;
    state_[3] = std::rotl(state_[3], 45);
    return result;
  }

  // Uniform in [0, bound), without modulo bias (Lemire's method). REQUIRES: bound > 0.
  std::uint64_t Below(std::uint64_t bound) {
    LLAVA_CHECK_GT(bound, 0u);
    for (;;) {
      const unsigned __int128 product = static_cast<unsigned __int128>(Next()) * bound;
      if (static_cast<std::uint64_t>(product) >= (-bound) % bound) {
        return static_cast<std::uint64_t>(product >> 64);
      }
    }
  }

  // Uniform in [low, high], both ends included.
  std::int64_t Between(std::int64_t low, std::int64_t high) {
    LLAVA_CHECK_LE(low, high);
    return low + static_cast<std::int64_t>(
                     Below(static_cast<std::uint64_t>(high) - static_cast<std::uint64_t>(low) + 1));
  }

  // Uniform in [0, 1), 53 bits.
  double Uniform() { return static_cast<double>(Next() >> 11) * 0x1.0p-53; }

  bool Chance(double probability) { return Uniform() < probability; }

  // Exponentially distributed with the given mean.
  double Exponential(double mean) { return -mean * std::log1p(-Uniform()); }

  // Standard normal (Box and Muller; the second value is thrown away to keep the state simple).
  double Normal() {
    const double radius = std::sqrt(Exponential(2.0));
    return radius * std::cos(6.283185307179586 * Uniform());
  }

  template <typename Container>
  void Shuffle(Container& items) {
    for (std::size_t i = items.size(); i > 1; --i) std::swap(items[i - 1], items[Below(i)]);
  }

 private:
  State state_;
};

}  // namespace llava

#endif  // LLAVA_BASE_RNG_H_
