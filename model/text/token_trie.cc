#include "model/text/token_trie.h"

namespace llava::model {

void TokenTrie::Add(std::string_view token, std::size_t value) {
  std::uint32_t node = 0;
  for (const char byte : token) {
    const auto fresh = static_cast<std::uint32_t>(edges_.size() + 1);
    node = edges_.emplace(Edge(node, byte), fresh).first->second;
  }
  ends_.emplace(node, value);
}

TokenTrie::Match TokenTrie::LongestAt(std::string_view text, std::size_t at) const {
  Match match;
  std::uint32_t node = 0;
  for (std::size_t i = at; i < text.size(); ++i) {
    const auto edge = edges_.find(Edge(node, text[i]));
    if (edge == edges_.end()) break;
    node = edge->second;
    const auto end = ends_.find(node);
    if (end != ends_.end()) match = {i + 1 - at, end->second};
  }
  return match;
}

}  // namespace llava::model
