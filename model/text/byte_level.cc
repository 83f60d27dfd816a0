#include "model/text/byte_level.h"

#include <utf8proc.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <map>

#include "base/check.h"

namespace llava::model {

const char kGpt2Expression[] =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

namespace {

// The character of each byte: its own where that is printable in Latin-1, else the next one from
// U+0100 on (tokenizers, pre_tokenizers/byte_level.rs, bytes_char).
struct ByteCharacters {
  std::array<std::string, 256> of_byte;
  std::map<std::string, char, std::less<>> byte_of;

  ByteCharacters() {
    int next = 0x100;
    for (int byte = 0; byte < 256; ++byte) {
      const bool own = (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte != 0xAD);
      const int character = own ? byte : next++;
      std::string& text = of_byte[static_cast<std::size_t>(byte)];
      if (character < 0x80) {
        text = static_cast<char>(character);
      } else {
        text = {static_cast<char>(0xC0 | character >> 6),
                static_cast<char>(0x80 | (character & 0x3F))};
      }
      byte_of[text] = static_cast<char>(byte);
    }
  }
};

const ByteCharacters& Characters() {
  static const ByteCharacters& characters = *new ByteCharacters();
  return characters;
}

bool IsAscii(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return (c & 0x80) == 0; });
}

std::string Nfc(std::string_view text) {
  utf8proc_uint8_t* composed = nullptr;
  const auto size =
      utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
                   static_cast<utf8proc_ssize_t>(text.size()), &composed,
                   static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
  LLAVA_CHECK_GE(size, 0);
  std::string out(reinterpret_cast<const char*>(composed), static_cast<std::size_t>(size));
  std::free(composed);
  return out;
}

}  // namespace

void ByteLevel::Encode(std::string_view text, std::vector<int>& ids) const {
  std::string normal;
  if (nfc_ && !IsAscii(text)) {
    normal = Nfc(text);
    text = normal;
  }
  std::vector<std::string_view> words = {text};
  for (const SplitExpression& split : splits_) {
    std::vector<std::string_view> cut;
    for (const std::string_view word : words) {
      const std::vector<std::string_view> pieces = split.Split(word);
      cut.insert(cut.end(), pieces.begin(), pieces.end());
    }
    words = std::move(cut);
  }
  std::string spelled;
  for (const std::string_view word : words) {
    spelled.clear();
    for (const char c : word) spelled += Characters().of_byte[static_cast<unsigned char>(c)];
    bpe_->Encode(spelled, ids);
  }
}

Vocabulary::Kind ByteLevel::kind(int id) const {
  const Kind kind = bpe_->kind(id);
  return kind == Kind::kText ? Kind::kBytes : kind;
}

std::string ByteLevel::TextOf(int id) const {
  const std::string_view piece = bpe_->piece(id);
  std::string bytes;
  for (std::size_t at = 0; at < piece.size();) {
    const std::size_t size = (piece[at] & 0x80) == 0 ? 1 : 2;
    const auto found = Characters().byte_of.find(piece.substr(at, size));
    if (found == Characters().byte_of.end()) return std::string(piece);
    bytes += found->second;
    at += size;
  }
  return bytes;
}

bool ByteLevel::spells_bytes() const {
  return std::all_of(Characters().of_byte.begin(), Characters().of_byte.end(),
                     [this](const std::string& character) {
                       const int id = bpe_->IdOf(character);
                       return id >= 0 && bpe_->piece(id) == character;
                     });
}

}  // namespace llava::model
