#include "model/text/tokenizer.h"

#include <algorithm>
#include <array>
#include <functional>
#include <map>
#include <set>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "base/utf8_stream.h"
#include "model/text/detokenizer.h"

namespace llava::model {
namespace {

constexpr std::string_view kWordStart = "\xE2\x96\x81";  // U+2581
constexpr int kMaxTokenId = 1 << 20;
constexpr std::size_t kMaxAddedTokens = 1 << 16;
constexpr std::size_t kMaxAddedTokenBytes = 1024;
constexpr std::int64_t kMaxTextBytes = std::int64_t{1} << 40;

bool IsSpace(char c) { return absl::ascii_isspace(static_cast<unsigned char>(c)); }

std::string SpacesForMarks(std::string_view piece) {
  return absl::StrReplaceAll({piece.data(), piece.size()}, {{"\xE2\x96\x81", " "}});
}

// A stretch [begin, end) of the text in which control tokens are recognised, or not.
struct Stretch {
  std::size_t begin;
  std::size_t end;
};

}  // namespace

struct Tokenizer::Impl {
  std::unique_ptr<const SentencepieceModel> base;
  std::vector<AddedToken> added;  // by falling length of content
  std::map<std::string, int, std::less<>> added_ids;
  std::array<std::vector<const AddedToken*>, 256> by_first_byte;  // longest first
  std::vector<Piece> pieces;                                      // by id
  std::vector<std::string> atoms;                                 // user-defined pieces
  TokenizerSettings settings;
  int unk = 0, bos = 1, eos = 2;
  std::int64_t max_token_bytes = 1;

  void AddControlPieces();
  absl::Status CheckAdded() const;
  void IndexAdded();
  void FillPieces();
  int IdOrElse(const std::string& token, int otherwise) const;
  void EncodeSegment(std::string_view segment, bool begins, bool first,
                     std::vector<int>& ids) const;
  std::vector<std::size_t> Cuts(std::string_view text, const std::vector<Stretch>& control) const;
  const AddedToken* TokenAt(std::string_view text, std::size_t at, std::size_t end) const;
};

// sentencepiece's own control pieces and <unk> count as special tokens that the files left out.
void Tokenizer::Impl::AddControlPieces() {
  std::set<int> ids;
  std::set<std::string, std::less<>> contents;
  for (const AddedToken& token : added) {
    ids.insert(token.id);
    contents.insert(token.content);
  }
  for (int id = 0; id < base->size(); ++id) {
    const SentencepieceModel::Kind kind = base->kind(id);
    const std::string& content = base->piece(id);
    if (kind == SentencepieceModel::Kind::kUserDefined) atoms.push_back(content);
    const bool special =
        kind == SentencepieceModel::Kind::kControl || kind == SentencepieceModel::Kind::kUnknown;
    if (!special || content.empty() || ids.contains(id) || contents.contains(content)) continue;
    added.push_back({.content = content, .id = id, .special = true});
  }
}

absl::Status Tokenizer::Impl::CheckAdded() const {
  if (added.size() > kMaxAddedTokens) {
    return absl::InvalidArgumentError(
        absl::StrCat("added tokens: expected at most ", kMaxAddedTokens, ", found ", added.size()));
  }
  std::map<int, const AddedToken*> by_id;
  std::map<std::string_view, const AddedToken*> by_content;
  for (const AddedToken& token : added) {
    const std::string shown = absl::CHexEscape(token.content.substr(0, 80));
    if (token.content.empty() || token.content.size() > kMaxAddedTokenBytes) {
      return absl::InvalidArgumentError(absl::StrCat("added token ", token.id, ": expected 1 to ",
                                                     kMaxAddedTokenBytes, " bytes, found \"", shown,
                                                     "\" of ", token.content.size(), " bytes"));
    }
    if (token.id < 0 || token.id >= kMaxTokenId) {
      return absl::InvalidArgumentError(absl::StrCat("added token \"", shown,
                                                     "\": expected an id from 0 to ",
                                                     kMaxTokenId - 1, ", found ", token.id));
    }
    const auto [id_entry, id_new] = by_id.emplace(token.id, &token);
    const auto [entry, is_new] = by_content.emplace(token.content, &token);
    if (!id_new || !is_new) {
      const AddedToken& other = id_new ? *entry->second : *id_entry->second;
      return absl::InvalidArgumentError(
          absl::StrCat("added tokens: \"", shown, "\" = ", token.id, " clashes with \"",
                       absl::CHexEscape(other.content), "\" = ", other.id));
    }
  }
  return absl::OkStatus();
}

void Tokenizer::Impl::IndexAdded() {
  std::sort(added.begin(), added.end(), [](const AddedToken& a, const AddedToken& b) {
    return a.content.size() != b.content.size() ? a.content.size() > b.content.size() : a.id < b.id;
  });
  for (const AddedToken& token : added) {
    added_ids.emplace(token.content, token.id);
    by_first_byte[static_cast<unsigned char>(token.content[0])].push_back(&token);
  }
}

void Tokenizer::Impl::FillPieces() {
  int size = base->size();
  bool byte_fallback = false;
  for (const AddedToken& token : added) size = std::max(size, token.id + 1);
  pieces.resize(static_cast<std::size_t>(size));
  for (int id = 0; id < base->size(); ++id) {
    const SentencepieceModel::Kind kind = base->kind(id);
    const std::string& text = base->piece(id);
    max_token_bytes = std::max(max_token_bytes, static_cast<std::int64_t>(text.size()));
    Piece& piece = pieces[static_cast<std::size_t>(id)];
    unsigned byte = 0;
    byte_fallback |= kind == SentencepieceModel::Kind::kByte;
    if (kind == SentencepieceModel::Kind::kByte && text.size() == 6 &&
        absl::SimpleHexAtoi(absl::string_view(text).substr(3, 2), &byte)) {
      piece = {Piece::Kind::kByte, std::string(1, static_cast<char>(byte))};
    } else if (kind == SentencepieceModel::Kind::kText ||
               kind == SentencepieceModel::Kind::kUserDefined) {
      piece = {Piece::Kind::kText, SpacesForMarks(Utf8Repair(text))};
    }
  }
  if (!byte_fallback) max_token_bytes = kMaxTextBytes;  // <unk> takes any number of characters
  for (const AddedToken& token : added) {
    max_token_bytes = std::max(max_token_bytes, static_cast<std::int64_t>(token.content.size()));
    Piece& piece = pieces[static_cast<std::size_t>(token.id)];
    piece = token.special ? Piece{}
                          : Piece{Piece::Kind::kText, SpacesForMarks(Utf8Repair(token.content))};
  }
}

int Tokenizer::Impl::IdOrElse(const std::string& token, int otherwise) const {
  const auto found = added_ids.find(token);
  if (!token.empty() && found != added_ids.end()) return found->second;
  return otherwise;
}

// The longest added token that begins at `at` and ends by `end`.
const AddedToken* Tokenizer::Impl::TokenAt(std::string_view text, std::size_t at,
                                           std::size_t end) const {
  for (const AddedToken* token : by_first_byte[static_cast<unsigned char>(text[at])]) {
    if (text.substr(at, end - at).starts_with(token->content)) return token;
  }
  return nullptr;
}

// `begins`: the text is a segment, or the first part of one that was cut; `first`: of the whole.
void Tokenizer::Impl::EncodeSegment(std::string_view segment, bool begins, bool first,
                                    std::vector<int>& ids) const {
  if (segment.empty()) return;
  std::string text;
  const bool marked = segment.starts_with(' ') || segment.starts_with(kWordStart);
  if (((settings.prefix == PrefixRule::kAlways && begins) ||
       (settings.prefix == PrefixRule::kFirst && first)) &&
      (settings.prefix_before_space || !marked)) {
    text = kWordStart;
  }
  text += segment;
  const std::vector<int> encoded = base->Encode(text);
  ids.insert(ids.end(), encoded.begin(), encoded.end());
}

// sentencepiece finds user-defined pieces in any text. Where one is not wholly the template's, the
// text is cut behind its first character, so that what a user types stays text.
std::vector<std::size_t> Tokenizer::Impl::Cuts(std::string_view text,
                                               const std::vector<Stretch>& control) const {
  std::vector<std::size_t> cuts;
  for (const std::string& atom : atoms) {
    if (atom.empty()) continue;
    for (std::size_t at = text.find(atom); at != std::string_view::npos;
         at = text.find(atom, at + 1)) {
      const bool allowed = std::any_of(control.begin(), control.end(), [&](const Stretch& stretch) {
        return stretch.begin <= at && at + atom.size() <= stretch.end;
      });
      if (allowed) continue;
      std::size_t cut = at + 1;
      while (cut < text.size() && (text[cut] & 0xC0) == 0x80) ++cut;
      cuts.push_back(cut);
    }
  }
  std::sort(cuts.begin(), cuts.end());
  return cuts;
}

Tokenizer::Tokenizer(std::unique_ptr<const Impl> impl) : impl_(std::move(impl)) {}
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;
Tokenizer::~Tokenizer() = default;

absl::StatusOr<Tokenizer> Tokenizer::FromModel(std::string_view model_bytes,
                                               std::vector<AddedToken> added,
                                               TokenizerSettings settings) {
  auto impl = std::make_unique<Impl>();
  impl->settings = std::move(settings);
  impl->added = std::move(added);
  std::string error;
  impl->base = SentencepieceModel::FromBytes(model_bytes, &error);
  if (impl->base == nullptr) {
    return absl::InvalidArgumentError(
        absl::StrCat("expected a sentencepiece model, found a fault: ", error));
  }
  if (impl->base->size() > kMaxTokenId) {
    return absl::InvalidArgumentError(
        absl::StrCat("expected at most ", kMaxTokenId, " pieces, found ", impl->base->size()));
  }
  impl->AddControlPieces();
  const absl::Status valid = impl->CheckAdded();
  if (!valid.ok()) return valid;
  impl->IndexAdded();
  impl->FillPieces();
  impl->unk = impl->IdOrElse(impl->settings.unk_token, impl->base->unk_id());
  impl->bos = impl->IdOrElse(impl->settings.bos_token, impl->base->bos_id());
  impl->eos = impl->IdOrElse(impl->settings.eos_token, impl->base->eos_id());
  return Tokenizer(std::move(impl));
}

std::vector<int> Tokenizer::Encode(std::span<const TextPart> parts, bool at_start) const {
  std::string text;
  std::vector<Stretch> control;
  for (const TextPart& part : parts) {
    const std::size_t begin = text.size();
    text += Utf8Repair(part.text);
    if (!part.control) continue;
    if (!control.empty() && control.back().end == begin) {
      control.back().end = text.size();
    } else {
      control.push_back({begin, text.size()});
    }
  }
  std::vector<int> ids;
  std::size_t segment = 0;  // where the text after the last control token begins
  const std::vector<std::size_t> cuts = impl_->Cuts(text, control);
  const auto encode_until = [&](std::size_t end) {
    const std::string_view whole(text);
    std::size_t begin = segment;
    for (const std::size_t cut : cuts) {
      if (cut <= begin || cut >= end) continue;
      impl_->EncodeSegment(whole.substr(begin, cut - begin), begin == segment,
                           at_start && begin == 0, ids);
      begin = cut;
    }
    impl_->EncodeSegment(whole.substr(begin, end - begin), begin == segment, at_start && begin == 0,
                         ids);
  };
  for (const Stretch& stretch : control) {
    for (std::size_t at = std::max(stretch.begin, segment); at < stretch.end;) {
      const AddedToken* token = impl_->TokenAt(text, at, stretch.end);
      if (token == nullptr) {
        ++at;
        continue;
      }
      std::size_t end = at;
      while (token->lstrip && end > segment && IsSpace(text[end - 1])) --end;
      if (end > segment) encode_until(end);
      ids.push_back(token->id);
      at += token->content.size();
      while (token->rstrip && at < text.size() && IsSpace(text[at])) ++at;
      segment = at;
    }
  }
  encode_until(text.size());
  return ids;
}

std::vector<int> Tokenizer::Encode(std::string_view text, bool control) const {
  const TextPart part{std::string(text), control};
  return Encode(std::span(&part, 1));
}

std::string Tokenizer::Decode(std::span<const int> ids) const {
  Detokenizer detokenizer(*this);
  std::string text;
  for (const int id : ids) text += detokenizer.Push(id);
  return text + detokenizer.Finish();
}

const Piece& Tokenizer::PieceOf(int id) const {
  static const Piece& nothing = *new Piece();
  if (id < 0 || id >= vocab_size()) return nothing;
  return impl_->pieces[static_cast<std::size_t>(id)];
}

std::string Tokenizer::TokenText(int id) const {
  for (const AddedToken& token : impl_->added) {
    if (token.id == id) return token.content;
  }
  if (id < 0 || id >= impl_->base->size()) return "";
  return Utf8Repair(impl_->base->piece(id));
}

std::optional<int> Tokenizer::IdOf(std::string_view token) const {
  const auto found = impl_->added_ids.find(token);
  if (found != impl_->added_ids.end()) return found->second;
  const int id = impl_->base->IdOf(token);
  if (id == impl_->base->unk_id()) return std::nullopt;
  return id;
}

int Tokenizer::bos_id() const { return impl_->bos; }
int Tokenizer::eos_id() const { return impl_->eos; }
int Tokenizer::unk_id() const { return impl_->unk; }
bool Tokenizer::adds_bos() const { return impl_->settings.add_bos && impl_->bos >= 0; }
int Tokenizer::vocab_size() const { return static_cast<int>(impl_->pieces.size()); }
std::int64_t Tokenizer::max_token_bytes() const { return impl_->max_token_bytes; }
const TokenizerSettings& Tokenizer::settings() const { return impl_->settings; }
const std::vector<AddedToken>& Tokenizer::added_tokens() const { return impl_->added; }

const SentencepieceModel& Tokenizer::base() const { return *impl_->base; }

absl::Status Tokenizer::CheckFits(int rows) const {
  if (vocab_size() <= rows) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      "tokenizer: expected ids below the embedding's ", rows, " rows, found a vocabulary of ",
      vocab_size(), " (the highest id, ", vocab_size() - 1, ", is \"",
      absl::CHexEscape(TokenText(vocab_size() - 1)), "\")"));
}

}  // namespace llava::model
