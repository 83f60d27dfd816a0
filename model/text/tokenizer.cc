#include "model/text/tokenizer.h"

#include <algorithm>
#include <functional>
#include <map>
#include <set>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "base/utf8_stream.h"
#include "model/text/bpe.h"
#include "model/text/detokenizer.h"
#include "model/text/sentencepiece_model.h"
#include "model/text/split_expression.h"
#include "model/text/token_trie.h"
#include "model/text/white_space.h"

namespace llava::model {
namespace {

constexpr std::string_view kWordStart = "\xE2\x96\x81";  // U+2581
constexpr int kMaxTokenId = 1 << 20;
constexpr std::size_t kMaxAddedTokens = 1 << 16;
constexpr std::size_t kMaxAddedTokenBytes = 1024;
constexpr std::int64_t kMaxTextBytes = std::int64_t{1} << 40;

std::string SpacesForMarks(std::string_view piece) {
  return absl::StrReplaceAll({piece.data(), piece.size()}, {{"\xE2\x96\x81", " "}});
}

// A stretch [begin, end) of the text in which control tokens are recognised, or not.
struct Stretch {
  std::size_t begin;
  std::size_t end;
};

// The first stretch that ends behind `at`.
std::vector<Stretch>::const_iterator FirstBehind(const std::vector<Stretch>& stretches,
                                                 std::size_t at) {
  return std::partition_point(stretches.begin(), stretches.end(),
                              [at](const Stretch& stretch) { return stretch.end <= at; });
}

}  // namespace

struct Tokenizer::Impl {
  std::unique_ptr<const Vocabulary> base;
  std::vector<AddedToken> added;  // by falling length of content
  std::map<std::string, int, std::less<>> added_ids;
  TokenTrie tokens;             // indices into `added`
  TokenTrie normalized_tokens;  // the same of those with `normalized`, as the normalizer has them
  std::vector<Piece> pieces;    // by id
  std::vector<std::string> atoms;  // user-defined pieces
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
  void EncodeCut(std::string_view text, Stretch segment, const std::vector<std::size_t>& cuts,
                 bool first, std::vector<int>& ids) const;
  bool IsMarked() const {
    return settings.prefix == PrefixRule::kAlways && settings.prefix_before_space;
  }
  // The normalizer puts a mark at the start of every text that it gets.
  bool MarksEveryText() const {
    return settings.prefix == PrefixRule::kFirst && settings.marks_in_normalizer;
  }
  std::string Marked(std::string_view text) const;
  std::string Normalized(std::string_view text) const;
  void EncodeNormalized(std::string_view text, Stretch gap, const std::vector<Stretch>& control,
                        bool at_start, std::vector<int>& ids) const;
  std::vector<std::size_t> Cuts(std::string_view text, const std::vector<Stretch>& control) const;
  template <typename Gap>
  void Scan(const TokenTrie& trie, std::string_view text, Stretch whole,
            const std::vector<Stretch>& control, std::vector<int>& ids, Gap gap) const;
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
    const Vocabulary::Kind kind = base->kind(id);
    const std::string& content = base->piece(id);
    if (kind == Vocabulary::Kind::kUserDefined) atoms.push_back(content);
    const bool special = kind == Vocabulary::Kind::kControl || kind == Vocabulary::Kind::kUnknown;
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
  }
  for (std::size_t i = 0; i < added.size(); ++i) {
    const AddedToken& token = added[i];
    if (token.normalized) {
      normalized_tokens.Add(Normalized(token.content), i);
    } else {
      tokens.Add(token.content, i);
    }
  }
}

void Tokenizer::Impl::FillPieces() {
  int size = base->size();
  for (const AddedToken& token : added) size = std::max(size, token.id + 1);
  pieces.resize(static_cast<std::size_t>(size));
  for (int id = 0; id < base->size(); ++id) {
    const Vocabulary::Kind kind = base->kind(id);
    const std::string& text = base->piece(id);
    max_token_bytes = std::max(max_token_bytes, static_cast<std::int64_t>(text.size()));
    Piece& piece = pieces[static_cast<std::size_t>(id)];
    unsigned byte = 0;
    if (kind == Vocabulary::Kind::kByte && text.size() == 6 &&
        absl::SimpleHexAtoi(absl::string_view(text).substr(3, 2), &byte)) {
      piece = {Piece::Kind::kByte, std::string(1, static_cast<char>(byte))};
    } else if (kind == Vocabulary::Kind::kBytes) {
      piece = {Piece::Kind::kByte, base->TextOf(id)};
    } else if (kind == Vocabulary::Kind::kText || kind == Vocabulary::Kind::kUserDefined) {
      piece = {Piece::Kind::kText, SpacesForMarks(Utf8Repair(text))};
    }
  }
  max_token_bytes *= base->max_shrinkage();
  if (!base->spells_bytes())
    max_token_bytes = kMaxTextBytes;  // <unk> takes any number of characters
  for (const AddedToken& token : added) {
    max_token_bytes = std::max(max_token_bytes, static_cast<std::int64_t>(token.content.size()));
    Piece& piece = pieces[static_cast<std::size_t>(token.id)];
    // The library reads out what it has looked for.
    const std::string text = token.normalized ? Normalized(token.content) : token.content;
    piece = token.special ? Piece{} : Piece{Piece::Kind::kText, SpacesForMarks(Utf8Repair(text))};
  }
}

int Tokenizer::Impl::IdOrElse(const std::string& token, int otherwise) const {
  if (token.empty()) return otherwise;
  const auto found = added_ids.find(token);
  if (found != added_ids.end()) return found->second;
  const int piece = base->IdOf(token);
  return piece == base->unk_id() ? otherwise : piece;
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
  base->Encode(text, ids);
}

// A segment, cut where user-defined pieces may not be found.
void Tokenizer::Impl::EncodeCut(std::string_view text, Stretch segment,
                                const std::vector<std::size_t>& cuts, bool first,
                                std::vector<int>& ids) const {
  std::size_t begin = segment.begin;
  for (auto cut = std::upper_bound(cuts.begin(), cuts.end(), begin);
       cut != cuts.end() && *cut < segment.end; ++cut) {
    EncodeSegment(text.substr(begin, *cut - begin), begin == segment.begin, first && begin == 0,
                  ids);
    begin = *cut;
  }
  EncodeSegment(text.substr(begin, segment.end - begin), begin == segment.begin,
                first && begin == 0, ids);
}

// Appends the ids of the trie's tokens that lie in `control`, leftmost and longest first, and lets
// `gap` append those of the text between them.
template <typename Gap>
void Tokenizer::Impl::Scan(const TokenTrie& trie, std::string_view text, Stretch whole,
                           const std::vector<Stretch>& control, std::vector<int>& ids,
                           Gap gap) const {
  std::size_t begin = whole.begin;  // of the text after the last token
  auto stretch = FirstBehind(control, whole.begin);
  for (; !trie.empty() && stretch != control.end() && stretch->begin < whole.end; ++stretch) {
    const std::string_view seen = text.substr(0, std::min(stretch->end, whole.end));
    for (std::size_t at = std::max(stretch->begin, begin); at < seen.size();) {
      const TokenTrie::Match match = trie.LongestAt(seen, at);
      if (match.size == 0) {
        ++at;
        continue;
      }
      const AddedToken& token = added[match.value];
      if (token.single_word &&
          (EndsWithWord(text.substr(whole.begin, at - whole.begin)) ||
           BeginsWithWord(text.substr(at + match.size, whole.end - at - match.size)))) {
        at += match.size;  // no other token is looked for in it either
        continue;
      }
      const std::size_t end =
          token.lstrip ? begin + WithoutSpaceAtEnd(text.substr(begin, at - begin)).size() : at;
      if (end > begin) gap(Stretch{begin, end});
      ids.push_back(token.id);
      at += match.size;
      begin = at;
      if (token.rstrip) {
        const std::string_view rest = text.substr(at, whole.end - at);
        begin += rest.size() - WithoutSpaceAtStart(rest).size();
      }
    }
  }
  if (begin < whole.end) gap(Stretch{begin, whole.end});
}

// What the normalizer makes of the inside of a text.
std::string Tokenizer::Impl::Marked(std::string_view text) const {
  if (!settings.spaces_in_normalizer) return std::string(text);
  return absl::StrReplaceAll({text.data(), text.size()}, {{" ", "\xE2\x96\x81"}});
}

// What it makes of a whole text.
std::string Tokenizer::Impl::Normalized(std::string_view text) const {
  if (!settings.marks_in_normalizer || text.empty()) return std::string(text);
  return IsMarked() ? std::string(kWordStart) + Marked(text) : Marked(text);
}

// A text between the tokens that are not `normalized`: the others are found in what the normalizer
// makes of it, which is not marked once more.
void Tokenizer::Impl::EncodeNormalized(std::string_view text, Stretch gap,
                                       const std::vector<Stretch>& control, bool at_start,
                                       std::vector<int>& ids) const {
  if (!settings.marks_in_normalizer) {
    return Scan(normalized_tokens, text, gap, control, ids, [&](Stretch segment) {
      EncodeSegment(text.substr(segment.begin, segment.end - segment.begin), true,
                    at_start && segment.begin == 0, ids);
    });
  }
  std::string normalized = IsMarked() ? std::string(kWordStart) : "";
  std::vector<Stretch> stretches;  // `control` in `normalized`
  const auto append = [&](std::size_t begin, std::size_t end) {
    normalized += Marked(text.substr(begin, end - begin));
  };
  std::size_t done = gap.begin;
  for (auto stretch = FirstBehind(control, gap.begin);
       stretch != control.end() && stretch->begin < gap.end; ++stretch) {
    const std::size_t from = std::max(stretch->begin, gap.begin);
    append(done, from);
    // The mark in front goes with what follows it.
    const std::size_t begin = from == gap.begin ? 0 : normalized.size();
    done = std::min(stretch->end, gap.end);
    append(from, done);
    stretches.push_back({begin, normalized.size()});
  }
  append(done, gap.end);
  const bool begins_text = at_start || gap.begin > 0;
  Scan(normalized_tokens, normalized, {0, normalized.size()}, stretches, ids, [&](Stretch part) {
    EncodeSegment(std::string_view(normalized).substr(part.begin, part.end - part.begin), false,
                  begins_text && part.begin == 0, ids);
  });
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
  std::string error;
  std::unique_ptr<const SentencepieceModel> model =
      SentencepieceModel::FromBytes(model_bytes, &error);
  if (model == nullptr) {
    return absl::InvalidArgumentError(
        absl::StrCat("expected a sentencepiece model, found a fault: ", error));
  }
  if (model->size() > kMaxTokenId) {
    return absl::InvalidArgumentError(
        absl::StrCat("expected at most ", kMaxTokenId, " pieces, found ", model->size()));
  }
  std::unique_ptr<const Vocabulary> vocabulary = Bpe::FromSentencepiece(*model);
  if (vocabulary == nullptr) vocabulary = std::move(model);
  return FromVocabulary(std::move(vocabulary), std::move(added), std::move(settings));
}

absl::StatusOr<Tokenizer> Tokenizer::FromVocabulary(std::unique_ptr<const Vocabulary> vocabulary,
                                                    std::vector<AddedToken> added,
                                                    TokenizerSettings settings) {
  auto impl = std::make_unique<Impl>();
  impl->base = std::move(vocabulary);
  impl->settings = std::move(settings);
  impl->added = std::move(added);
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
  const std::vector<std::size_t> cuts = impl_->Cuts(text, control);
  impl_->Scan(impl_->tokens, text, {0, text.size()}, control, ids, [&](Stretch gap) {
    if (impl_->normalized_tokens.empty() && !impl_->MarksEveryText()) {
      impl_->EncodeCut(text, gap, cuts, at_start, ids);
    } else {
      impl_->EncodeNormalized(text, gap, control, at_start, ids);
    }
  });
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

const Vocabulary& Tokenizer::base() const { return *impl_->base; }

absl::Status Tokenizer::CheckFits(int rows) const {
  const int pieces = impl_->base->size();
  if (pieces <= rows) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("tokenizer: expected ids below the embedding's ",
                                                 rows, " rows, found a vocabulary of ", pieces,
                                                 " (the highest id, ", pieces - 1, ", is \"",
                                                 absl::CHexEscape(TokenText(pieces - 1)), "\")"));
}

std::string Tokenizer::BeyondEmbedding(int rows) const {
  std::string tokens;
  for (auto token = impl_->added.rbegin(); token != impl_->added.rend(); ++token) {
    if (token->id < rows) continue;
    absl::StrAppend(&tokens, tokens.empty() ? "" : ", ", "\"", absl::CHexEscape(token->content),
                    "\" = ", token->id);
  }
  if (tokens.empty()) return "";
  return absl::StrCat("tokenizer: the embedding has ", rows, " rows and so none for ", tokens,
                      ": a prompt with such a token is refused");
}

}  // namespace llava::model
