#include "model/text/tokenizer_json.h"

#include <algorithm>
#include <cstdint>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "boost/json/array.hpp"
#include "boost/json/object.hpp"
#include "boost/json/serialize.hpp"
#include "model/text/sentencepiece_model.h"

namespace llava::model {
namespace {

namespace json = boost::json;

constexpr const char* kWordStart = "\xE2\x96\x81";

json::string View(std::string_view text) { return json::string(text.data(), text.size()); }

json::array AddedTokens(const Tokenizer& tokenizer) {
  std::vector<AddedToken> tokens = tokenizer.added_tokens();
  std::sort(tokens.begin(), tokens.end(),
            [](const AddedToken& a, const AddedToken& b) { return a.id < b.id; });
  json::array out;
  for (const AddedToken& token : tokens) {
    out.push_back({{"id", token.id},
                   {"content", token.content},
                   {"single_word", false},
                   {"lstrip", token.lstrip},
                   {"rstrip", token.rstrip},
                   {"normalized", false},
                   {"special", token.special}});
  }
  return out;
}

// A pair of pieces that becomes one. Pieces with higher scores are made first.
struct Merge {
  float score;
  int left;
  int right;
};

std::vector<Merge> Merges(const SentencepieceModel& model,
                          const std::unordered_map<std::string_view, int>& ids) {
  std::vector<Merge> merges;
  for (int id = 0; id < model.size(); ++id) {
    if (model.kind(id) != SentencepieceModel::Kind::kText) continue;
    const std::string_view piece = model.piece(id);
    std::vector<Merge> splits;
    for (std::size_t at = 1; at < piece.size(); ++at) {
      if ((piece[at] & 0xC0) == 0x80) continue;  // inside a character
      const auto left = ids.find(piece.substr(0, at));
      const auto right = ids.find(piece.substr(at));
      if (left == ids.end() || right == ids.end()) continue;
      splits.push_back({model.score(id), left->second, right->second});
    }
    std::sort(splits.begin(), splits.end(), [](const Merge& a, const Merge& b) {
      return std::pair(a.left, a.right) < std::pair(b.left, b.right);
    });
    merges.insert(merges.end(), splits.begin(), splits.end());
  }
  std::vector<std::size_t> order(merges.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return merges[a].score != merges[b].score ? merges[a].score > merges[b].score : a < b;
  });
  std::vector<Merge> sorted;
  sorted.reserve(order.size());
  for (const std::size_t i : order) sorted.push_back(merges[i]);
  return sorted;
}

json::object Model(const Tokenizer& tokenizer) {
  const SentencepieceModel& model = tokenizer.base();
  std::unordered_map<std::string_view, int> ids;
  json::object vocab;
  for (int id = 0; id < model.size(); ++id) {
    ids.emplace(model.piece(id), id);
    vocab[model.piece(id)] = id;
  }
  json::array merges;
  for (const Merge& merge : Merges(model, ids)) {
    merges.push_back(json::array{View(model.piece(merge.left)), View(model.piece(merge.right))});
  }
  return {{"type", "BPE"},
          {"dropout", nullptr},
          {"unk_token", tokenizer.TokenText(tokenizer.unk_id())},
          {"continuing_subword_prefix", nullptr},
          {"end_of_word_suffix", nullptr},
          {"fuse_unk", true},
          {"byte_fallback", true},
          {"ignore_merges", false},
          {"vocab", std::move(vocab)},
          {"merges", std::move(merges)}};
}

// How segments begin: Prepend puts the mark always, Metaspace where no space is.
void PutPrefixRule(const TokenizerSettings& settings, json::object& out) {
  out["normalizer"] = nullptr;
  out["pre_tokenizer"] = nullptr;
  if (settings.prefix == PrefixRule::kAlways && settings.prefix_before_space) {
    const json::object prepend{{"type", "Prepend"}, {"prepend", kWordStart}};
    const json::object replace{
        {"type", "Replace"}, {"pattern", {{"String", " "}}}, {"content", kWordStart}};
    out["normalizer"] = {{"type", "Sequence"}, {"normalizers", json::array{prepend, replace}}};
    return;
  }
  const char* scheme = settings.prefix == PrefixRule::kNever   ? "never"
                       : settings.prefix == PrefixRule::kFirst ? "first"
                                                               : "always";
  out["pre_tokenizer"] = {{"type", "Metaspace"},
                          {"replacement", kWordStart},
                          {"prepend_scheme", scheme},
                          {"split", false}};
}

json::object Decoder(bool strip_first_space) {
  json::array decoders{
      json::object{{"type", "Replace"}, {"pattern", {{"String", kWordStart}}}, {"content", " "}},
      json::object{{"type", "ByteFallback"}}, json::object{{"type", "Fuse"}}};
  if (strip_first_space) {
    decoders.push_back(
        json::object{{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}});
  }
  return {{"type", "Sequence"}, {"decoders", std::move(decoders)}};
}

// BOS in front of a text, where the tokenizer adds one.
json::value PostProcessor(const Tokenizer& tokenizer) {
  if (!tokenizer.adds_bos()) return nullptr;
  const std::string bos = tokenizer.TokenText(tokenizer.bos_id());
  const auto special = [&](int type) {
    return json::object{{"SpecialToken", {{"id", bos}, {"type_id", type}}}};
  };
  const auto sequence = [](const char* id, int type) {
    return json::object{{"Sequence", {{"id", id}, {"type_id", type}}}};
  };
  const json::object token{
      {"id", bos}, {"ids", json::array{tokenizer.bos_id()}}, {"tokens", json::array{View(bos)}}};
  return {{"type", "TemplateProcessing"},
          {"single", json::array{special(0), sequence("A", 0)}},
          {"pair", json::array{special(0), sequence("A", 0), special(1), sequence("B", 1)}},
          {"special_tokens", {{bos, token}}}};
}

}  // namespace

absl::StatusOr<std::string> TokenizerJson(const Tokenizer& tokenizer) {
  if (!tokenizer.base().is_bpe()) {
    return absl::UnimplementedError(
        "tokenizer.model: expected byte-pair encoding for a tokenizer.json, found another type");
  }
  json::object out{{"version", "1.0"}, {"truncation", nullptr}, {"padding", nullptr}};
  out["added_tokens"] = AddedTokens(tokenizer);
  PutPrefixRule(tokenizer.settings(), out);
  out["post_processor"] = PostProcessor(tokenizer);
  out["decoder"] = Decoder(tokenizer.settings().strip_first_space);
  out["model"] = Model(tokenizer);
  return json::serialize(out);
}

}  // namespace llava::model
