#include "training/generate/near_duplicates.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/str_split.h"

namespace llava::training {
namespace {

constexpr std::size_t kShingle = 3;  // words

// SplitMix64: each input bit changes each output bit.
std::uint64_t Mix(std::uint64_t x) {
  x += 0x9E3779B97F4A7C15u;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
  return x ^ (x >> 31);
}

std::uint64_t HashOf(const std::string& word) {
  std::uint64_t hash = word.size();
  for (const char c : word) hash = Mix(hash ^ static_cast<unsigned char>(c));
  return hash;
}

}  // namespace

NearDuplicates::Signature NearDuplicates::SignatureOf(const std::string& text) {
  const std::vector<std::string> words = absl::StrSplit(
      absl::AsciiStrToLower(text), absl::ByAnyChar(" \t\n\r.,;:!?\"()"), absl::SkipEmpty());
  Signature signature;
  signature.fill(~std::uint64_t{0});
  const std::size_t last = words.size() > kShingle ? words.size() - kShingle : 0;
  for (std::size_t at = 0; at <= last; ++at) {
    std::uint64_t shingle = 0;
    for (std::size_t i = at; i < std::min(words.size(), at + kShingle); ++i) {
      shingle = Mix(shingle ^ HashOf(words[i]));
    }
    for (std::uint64_t i = 0; i < kHashes; ++i) {
      signature[i] = std::min(signature[i], Mix(shingle ^ Mix(i)));
    }
  }
  return signature;
}

std::int64_t NearDuplicates::Add(const std::string& text) {
  const Signature signature = SignatureOf(text);
  const std::int64_t place = texts_++;
  std::vector<std::uint64_t> keys;
  for (std::size_t band = 0; band < kHashes; band += kBand) {
    std::uint64_t key = band;
    for (std::size_t i = band; i < band + kBand; ++i) key = Mix(key ^ signature[i]);
    keys.push_back(key);
    const auto found = bands_.find(key);
    if (found == bands_.end()) continue;
    for (const std::size_t other : found->second) {
      int equal = 0;
      for (std::size_t i = 0; i < kHashes; ++i) equal += signature[i] == kept_[other][i] ? 1 : 0;
      if (equal >= threshold_ * kHashes) return places_[other];
    }
  }
  for (const std::uint64_t key : keys) bands_[key].push_back(kept_.size());
  kept_.push_back(signature);
  places_.push_back(place);
  return -1;
}

}  // namespace llava::training
