// Finds which of many tokens a text has at a place, in time that does not grow with their number.
#ifndef LLAVA_MODEL_TEXT_TOKEN_TRIE_H_
#define LLAVA_MODEL_TEXT_TOKEN_TRIE_H_

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"

namespace llava::model {

// Not thread-safe while tokens are added.
class TokenTrie {
 public:
  struct Match {
    std::size_t size = 0;   // bytes; 0: none
    std::size_t value = 0;  // of the token
  };

  bool empty() const { return ends_.empty(); }
  // REQUIRES: not empty. The first of equal tokens counts.
  void Add(std::string_view token, std::size_t value);
  // The longest token that begins at text[at]. REQUIRES: at < text.size().
  Match LongestAt(std::string_view text, std::size_t at) const;

 private:
  static std::uint64_t Edge(std::uint32_t node, char byte) {
    return std::uint64_t{node} << 8 | static_cast<unsigned char>(byte);
  }

  // Node 0 is the root; nodes are numbered as they are made.
  absl::flat_hash_map<std::uint64_t, std::uint32_t> edges_;
  absl::flat_hash_map<std::uint32_t, std::size_t> ends_;  // nodes where a token ends
};

}  // namespace llava::model

#endif  // LLAVA_MODEL_TEXT_TOKEN_TRIE_H_
