#include "model/text/bpe.h"

#include <algorithm>
#include <functional>
#include <map>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/status_macros.h"
#include "model/text/sentencepiece_model.h"

namespace llava::model {
namespace {

constexpr std::string_view kMarkText = "\xE2\x96\x81";
// Up to here, looking through all pairs is quicker than keeping them in order.
constexpr std::size_t kShort = 32;
constexpr int kGone = -1;
// Splits of a piece cost the square of its bytes; sentencepiece's trainer makes 48 at most, unless
// it is told otherwise.
constexpr std::size_t kMaxSplitBytes = 1024;

std::uint64_t Pair(std::uint32_t left, std::uint32_t right) {
  return std::uint64_t{left} << 32 | right;
}
std::uint64_t PairOfIds(int left, int right) {
  return Pair(static_cast<std::uint32_t>(left), static_cast<std::uint32_t>(right));
}

std::size_t LengthOf(char lead) {
  const auto byte = static_cast<unsigned char>(lead);
  return byte < 0x80 ? 1 : byte < 0xE0 ? 2 : byte < 0xF0 ? 3 : 4;
}

// The bytes of a character as a number, which tells it from every other.
std::uint32_t CharacterAt(std::string_view text, std::size_t at) {
  std::uint32_t value = 0;
  for (const char c : text.substr(at, LengthOf(text[at]))) {
    value = value << 8 | static_cast<unsigned char>(c);
  }
  return value;
}
constexpr std::uint32_t kMarkCharacter = 0xE29681;

std::uint32_t LastCharacter(std::string_view text) {
  std::size_t at = text.size() - 1;
  while (at > 0 && (text[at] & 0xC0) == 0x80) --at;
  return CharacterAt(text, at);
}

bool IsOneCharacter(std::string_view text) {
  return !text.empty() && LengthOf(text[0]) == text.size();
}

std::string Shown(std::string_view text) {
  return absl::CHexEscape(absl::string_view(text.data(), std::min<std::size_t>(text.size(), 80)));
}

}  // namespace

absl::StatusOr<std::unique_ptr<const Bpe>> Bpe::Create(std::vector<Entry> entries,
                                                       std::vector<Merge> merges,
                                                       const Options& options) {
  std::unique_ptr<Bpe> bpe(new Bpe(std::move(entries), std::move(merges), options));
  RETURN_IF_ERROR(bpe->IndexEntries());
  RETURN_IF_ERROR(bpe->IndexMerges());
  return std::unique_ptr<const Bpe>(std::move(bpe));
}

absl::Status Bpe::IndexEntries() {
  bytes_.fill(-1);
  for (int id = 0; id < size(); ++id) {
    const std::string& text = piece(id);
    if (text.empty()) continue;  // an id that the vocabulary leaves out
    if (!ids_.emplace(text, id).second) {
      return absl::InvalidArgumentError(
          absl::StrCat("vocab: expected each piece once, found \"", Shown(text), "\" twice"));
    }
    max_piece_bytes_ = std::max(max_piece_bytes_, text.size());
    if (IsOneCharacter(text)) characters_.emplace(CharacterAt(text, 0), id);
  }
  for (std::size_t byte = 0; byte < bytes_.size(); ++byte) {
    const auto found = ids_.find(absl::StrFormat("<0x%02X>", byte));
    if (found != ids_.end()) bytes_[byte] = found->second;
  }
  return absl::OkStatus();
}

absl::Status Bpe::IndexMerges() {
  for (const Merge& merge : merges_) {
    const auto text = [this](int id) -> std::string_view {
      return id >= 0 && id < size() && kind(id) == Kind::kText ? std::string_view(piece(id))
                                                               : std::string_view();
    };
    const std::string_view left = text(merge.left);
    const std::string_view right = text(merge.right);
    if (left.empty() || right.empty() || text(merge.result) != std::string(left).append(right)) {
      return absl::InvalidArgumentError(absl::StrCat(
          "merges: expected two pieces of text whose text together is a piece, found \"",
          Shown(left), "\" and \"", Shown(right), "\" at rank ", merge.rank));
    }
    pairs_[PairOfIds(merge.left, merge.right)] = {merge.rank, merge.result};
    junctions_.insert(Pair(LastCharacter(left), CharacterAt(right, 0)));
  }
  return absl::OkStatus();
}

const Bpe::Applied* Bpe::Find(int left, int right) const {
  const auto found = pairs_.find(PairOfIds(left, right));
  return found == pairs_.end() ? nullptr : &found->second;
}

bool Bpe::spells_bytes() const {
  return options_.byte_fallback &&
         std::all_of(bytes_.begin(), bytes_.end(), [](int id) { return id >= 0; });
}

int Bpe::IdOf(std::string_view piece) const {
  const auto found = ids_.find(piece);
  return found == ids_.end() ? options_.unk : found->second;
}

// Collects the symbols of one stretch of text that no merge leaves, and encodes it at its end.
class Bpe::Stretch {
 public:
  Stretch(const Bpe& bpe, std::vector<int>& ids) : bpe_(bpe), ids_(ids) {}

  void AddPiece(int id, std::uint32_t character) {
    if (!symbols_.empty() && !bpe_.junctions_.contains(Pair(last_, character))) Flush();
    symbols_.push_back(id);
    last_ = character;
  }
  // A symbol that never merges: of a byte, or unk.
  void AddAlone(int id) {
    Flush();
    ids_.push_back(id);
  }
  void Flush() {
    if (symbols_.size() > kShort) {
      bpe_.MergeLong(symbols_);
    } else {
      bpe_.MergeShort(symbols_);
    }
    ids_.insert(ids_.end(), symbols_.begin(), symbols_.end());
    symbols_.clear();
  }

 private:
  const Bpe& bpe_;
  std::vector<int>& ids_;
  std::vector<int> symbols_;
  std::uint32_t last_ = 0;
};

void Bpe::Encode(std::string_view text, std::vector<int>& ids) const {
  if (!options_.split_at_marks) return EncodeSegment(text, ids);
  std::size_t begin = 0;
  for (std::size_t at = 0; at < text.size(); ++at) {
    const bool mark = (options_.spaces_are_marks && text[at] == ' ') ||
                      text.substr(at, kMarkText.size()) == kMarkText;
    if (!mark || at == begin) continue;
    EncodeSegment(text.substr(begin, at - begin), ids);
    begin = at;
  }
  EncodeSegment(text.substr(begin), ids);
}

// The piece that the whole segment is.
std::optional<int> Bpe::PieceOf(std::string_view segment) const {
  if (segment.size() > max_piece_bytes_) return std::nullopt;
  std::string text;
  for (const char c : segment) {
    if (c == ' ' && options_.spaces_are_marks) {
      text += kMarkText;
    } else {
      text += c;
    }
  }
  const auto found = ids_.find(text);
  if (found == ids_.end()) return std::nullopt;
  return found->second;
}

// tokenizers, models/bpe/model.rs, merge_word: an unk waits for the next character that has a
// piece, also when characters spelled in bytes come before that.
void Bpe::EncodeSegment(std::string_view segment, std::vector<int>& ids) const {
  if (options_.ignore_merges) {
    if (const auto whole = PieceOf(segment); whole.has_value()) return ids.push_back(*whole);
  }
  Stretch stretch(*this, ids);
  bool unknown = false;
  for (std::size_t at = 0; at < segment.size();) {
    const std::string_view bytes = segment.substr(at, LengthOf(segment[at]));
    at += bytes.size();
    const bool mark = options_.spaces_are_marks && bytes == " ";
    const std::uint32_t character = mark ? kMarkCharacter : CharacterAt(bytes, 0);
    if (const auto known = characters_.find(character); known != characters_.end()) {
      if (std::exchange(unknown, false)) stretch.AddAlone(options_.unk);
      stretch.AddPiece(known->second, character);
      continue;
    }
    const std::string_view spelled = mark ? kMarkText : bytes;
    const auto byte_id = [this](char c) { return bytes_[static_cast<unsigned char>(c)]; };
    if (options_.byte_fallback &&
        std::all_of(spelled.begin(), spelled.end(), [&](char c) { return byte_id(c) >= 0; })) {
      for (const char c : spelled) stretch.AddAlone(byte_id(c));
    } else if (options_.unk >= 0) {
      if (unknown && !options_.fuse_unk) stretch.AddAlone(options_.unk);
      unknown = true;
    }
  }
  if (unknown) stretch.AddAlone(options_.unk);
  stretch.Flush();
}

void Bpe::MergeShort(std::vector<int>& symbols) const {
  while (symbols.size() > 1) {
    const Applied* best = nullptr;
    std::size_t at = 0;
    for (std::size_t i = 0; i + 1 < symbols.size(); ++i) {
      const Applied* merge = Find(symbols[i], symbols[i + 1]);
      if (merge == nullptr || (best != nullptr && best->rank <= merge->rank)) continue;
      best = merge;
      at = i;
    }
    if (best == nullptr) return;
    symbols[at] = best->result;
    symbols.erase(symbols.begin() + static_cast<std::ptrdiff_t>(at) + 1);
  }
}

// The symbols are a linked list, and the places where a merge applies lie in a queue by its rank.
// A place whose pair has changed since is skipped when its turn comes.
void Bpe::MergeLong(std::vector<int>& symbols) const {
  const auto count = static_cast<int>(symbols.size());
  std::vector<int> next(symbols.size());
  std::vector<int> before(symbols.size());
  std::map<int, std::vector<int>> queue;  // rank to places
  const auto look = [&](int at) {
    if (at < 0 || next[Index(at)] == count) return;
    const Applied* merge = Find(symbols[Index(at)], symbols[Index(next[Index(at)])]);
    if (merge != nullptr) queue[merge->rank].push_back(at);
  };
  for (int i = 0; i < count; ++i) {
    next[Index(i)] = i + 1;
    before[Index(i)] = i - 1;
    look(i);
  }
  while (!queue.empty()) {
    auto turn = queue.extract(queue.begin());
    std::vector<int>& places = turn.mapped();
    if (std::is_sorted(places.begin(), places.end())) {
      std::reverse(places.begin(), places.end());
    } else {
      std::sort(places.begin(), places.end(), std::greater<>());
    }
    while (!places.empty() && (queue.empty() || queue.begin()->first > turn.key())) {
      const int at = places.back();
      places.pop_back();
      const int right = next[Index(at)];
      if (symbols[Index(at)] == kGone || right == count) continue;
      const Applied* merge = Find(symbols[Index(at)], symbols[Index(right)]);
      if (merge == nullptr || merge->rank != turn.key()) continue;
      symbols[Index(at)] = merge->result;
      symbols[Index(right)] = kGone;
      next[Index(at)] = next[Index(right)];
      if (next[Index(at)] < count) before[Index(next[Index(at)])] = at;
      look(before[Index(at)]);
      look(at);
    }
    if (!places.empty()) queue.insert(std::move(turn));  // a merge that comes earlier appeared
  }
  std::erase(symbols, kGone);
}

namespace {

// A split of every piece into two pieces is a merge, as in sentencepiece, where any neighbours join
// whose text together is a piece.
std::vector<Bpe::Merge> SplitsOf(const std::vector<Bpe::Entry>& entries,
                                 const SentencepieceModel& model) {
  absl::flat_hash_map<std::string_view, int> ids;
  std::vector<int> order;  // by falling score
  for (int id = 0; id < model.size(); ++id) {
    if (model.kind(id) != Vocabulary::Kind::kText) continue;
    ids.emplace(entries[static_cast<std::size_t>(id)].text, id);
    order.push_back(id);
  }
  std::stable_sort(order.begin(), order.end(),
                   [&](int a, int b) { return model.score(a) > model.score(b); });
  std::vector<Bpe::Merge> merges;
  for (int rank = 0; const int id : order) {
    const std::string_view text = entries[static_cast<std::size_t>(id)].text;
    const std::size_t first = merges.size();
    for (std::size_t at = 1; at < text.size(); ++at) {
      const auto left = ids.find(text.substr(0, at));
      const auto right = ids.find(text.substr(at));
      if (left == ids.end() || right == ids.end()) continue;
      merges.push_back({left->second, right->second, id, rank});
    }
    std::sort(merges.begin() + static_cast<std::ptrdiff_t>(first), merges.end(),
              [](const Bpe::Merge& a, const Bpe::Merge& b) {
                return std::pair(a.left, a.right) < std::pair(b.left, b.right);
              });
    ++rank;
  }
  return merges;
}

// Whether merging in the order of scores is all that the library does with this model.
bool IsPlain(const SentencepieceModel& model, const std::vector<Bpe::Merge>& merges) {
  if (!model.is_bpe() || !model.escapes_spaces()) return false;
  for (std::size_t i = 1; i < merges.size(); ++i) {
    if (merges[i].rank != merges[i - 1].rank &&
        model.score(merges[i].result) == model.score(merges[i - 1].result)) {
      return false;
    }
  }
  for (int id = 0; id < model.size(); ++id) {
    if (model.kind(id) == Vocabulary::Kind::kUserDefined || model.is_unused(id)) return false;
    const std::string_view text = model.piece(id);
    if (model.kind(id) != Vocabulary::Kind::kText) {
      if (IsOneCharacter(text)) return false;
      continue;
    }
    for (std::size_t at = 0; at < text.size(); at += LengthOf(text[at])) {
      const int character = model.IdOf(text.substr(at, LengthOf(text[at])));
      if (model.kind(character) != Vocabulary::Kind::kText) return false;
    }
  }
  return true;
}

}  // namespace

std::unique_ptr<const Bpe> Bpe::FromSentencepiece(const SentencepieceModel& model) {
  std::vector<Entry> entries;
  bool byte_pieces = false;
  for (int id = 0; id < model.size(); ++id) {
    entries.push_back({model.piece(id), model.kind(id)});
    byte_pieces |= model.kind(id) == Kind::kByte;
    if (model.piece(id).size() > kMaxSplitBytes) return nullptr;
  }
  std::vector<Merge> merges = SplitsOf(entries, model);
  if (!IsPlain(model, merges)) return nullptr;
  const Options options{.unk = model.unk_id(),
                        .bos = model.bos_id(),
                        .eos = model.eos_id(),
                        .fuse_unk = true,
                        .byte_fallback = byte_pieces};
  auto bpe = Create(std::move(entries), std::move(merges), options);
  return bpe.ok() ? *std::move(bpe) : nullptr;
}

}  // namespace llava::model
