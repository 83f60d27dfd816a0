#include "model/text/byte_level.h"

#include <utf8proc.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <iterator>
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

struct Range {
  char32_t first, last;
};

// What Unicode got after version 9 and joins, or puts in order, with its neighbours: marks with a
// combining class, and the parts of U+11938. The tables of Hugging Face's tokenizers are of version
// 9 (unicode-normalization-alignments): for them these are characters by themselves.
constexpr Range kSinceUnicode9[] = {
    {0x7FD, 0x7FD},     {0x898, 0x89F},     {0x8CA, 0x8D3},     {0x9FE, 0x9FE},
    {0xC3C, 0xC3C},     {0xD3B, 0xD3C},     {0xEBA, 0xEBA},     {0x1715, 0x1715},
    {0x1ABF, 0x1ACE},   {0x1DF6, 0x1DFA},   {0xA82C, 0xA82C},   {0x10D24, 0x10D27},
    {0x10EAB, 0x10EAC}, {0x10EFD, 0x10EFF}, {0x10F46, 0x10F50}, {0x10F82, 0x10F85},
    {0x11070, 0x11070}, {0x1133B, 0x1133B}, {0x1145E, 0x1145E}, {0x11839, 0x1183A},
    {0x11930, 0x11930}, {0x11935, 0x11935}, {0x11938, 0x11938}, {0x1193D, 0x1193E},
    {0x11943, 0x11943}, {0x119E0, 0x119E0}, {0x11A34, 0x11A34}, {0x11A47, 0x11A47},
    {0x11A99, 0x11A99}, {0x11D42, 0x11D42}, {0x11D44, 0x11D45}, {0x11D97, 0x11D97},
    {0x11F41, 0x11F42}, {0x16FF0, 0x16FF1}, {0x1E08F, 0x1E08F}, {0x1E130, 0x1E136},
    {0x1E2AE, 0x1E2AE}, {0x1E2EC, 0x1E2EF}, {0x1E4EC, 0x1E4EF}};

// HANGUL JUNGSEONG O-YAE joins with nothing, but utf8proc drops it behind a syllable.
constexpr char32_t kDroppedVowel = 0x11A7;

bool StandsAlone(char32_t character) {
  if (character == kDroppedVowel) return true;
  const auto after = std::ranges::upper_bound(kSinceUnicode9, character, {}, &Range::first);
  return after != std::begin(kSinceUnicode9) && character <= std::prev(after)->last;
}

void AppendComposed(std::string_view text, std::string& out) {
  utf8proc_uint8_t* composed = nullptr;
  const auto size =
      utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
                   static_cast<utf8proc_ssize_t>(text.size()), &composed,
                   static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
  LLAVA_CHECK_GE(size, 0);
  out.append(reinterpret_cast<const char*>(composed), static_cast<std::size_t>(size));
  std::free(composed);
}

// REQUIRES: valid UTF-8.
std::string Nfc(std::string_view text) {
  std::string out;
  std::size_t from = 0;
  for (std::size_t at = 0; at < text.size();) {
    utf8proc_int32_t character = 0;
    const auto bytes =
        utf8proc_iterate(reinterpret_cast<const utf8proc_uint8_t*>(&text[at]),
                         static_cast<utf8proc_ssize_t>(text.size() - at), &character);
    LLAVA_CHECK_GE(bytes, 1);
    const std::size_t next = at + static_cast<std::size_t>(bytes);
    if (StandsAlone(static_cast<char32_t>(character))) {
      AppendComposed(text.substr(from, at - from), out);
      out.append(text.substr(at, next - at));
      from = next;
    }
    at = next;
  }
  AppendComposed(text.substr(from), out);
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
