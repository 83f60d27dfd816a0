#include "model/text/tokenizer_json.h"

#include <algorithm>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "boost/json/array.hpp"
#include "boost/json/object.hpp"
#include "boost/json/serialize.hpp"
#include "model/text/bpe.h"

namespace llava::model {
namespace {

namespace json = boost::json;

constexpr const char* kWordStart = "\xE2\x96\x81";

json::string View(std::string_view text) { return json::string(text.data(), text.size()); }

std::vector<AddedToken> ById(std::vector<AddedToken> tokens) {
  std::sort(tokens.begin(), tokens.end(),
            [](const AddedToken& a, const AddedToken& b) { return a.id < b.id; });
  return tokens;
}

json::array AddedTokens(const Tokenizer& tokenizer) {
  json::array out;
  for (const AddedToken& token : ById(tokenizer.added_tokens())) {
    out.push_back({{"id", token.id},
                   {"content", token.content},
                   {"single_word", token.single_word},
                   {"lstrip", token.lstrip},
                   {"rstrip", token.rstrip},
                   {"normalized", token.normalized},
                   {"special", token.special}});
  }
  return out;
}

json::object Model(const Tokenizer& tokenizer, const Bpe& bpe) {
  json::object vocab;
  for (int id = 0; id < bpe.size(); ++id) {
    if (!bpe.piece(id).empty()) vocab[bpe.piece(id)] = id;
  }
  json::array merges;
  for (const Bpe::Merge& merge : bpe.merges()) {
    merges.push_back(json::array{View(bpe.piece(merge.left)), View(bpe.piece(merge.right))});
  }
  return {{"type", "BPE"},
          {"dropout", nullptr},
          {"unk_token", tokenizer.TokenText(tokenizer.unk_id())},
          {"continuing_subword_prefix", nullptr},
          {"end_of_word_suffix", nullptr},
          {"fuse_unk", bpe.options().fuse_unk},
          {"byte_fallback", bpe.options().byte_fallback},
          {"ignore_merges", bpe.options().ignore_merges},
          {"vocab", std::move(vocab)},
          {"merges", std::move(merges)}};
}

json::object Replace(const char* kind, std::string_view pattern) {
  return {{"type", "Replace"}, {"pattern", {{kind, View(pattern)}}}, {"content", kWordStart}};
}

// How segments begin: Prepend puts the mark always, Metaspace where no space is.
void PutPrefixRule(const Tokenizer& tokenizer, const Bpe::Options& bpe, json::object& out) {
  const TokenizerSettings& settings = tokenizer.settings();
  out["normalizer"] = nullptr;
  out["pre_tokenizer"] = nullptr;
  const bool every_text = settings.prefix == PrefixRule::kFirst && settings.marks_in_normalizer;
  const bool prepend = settings.prefix == PrefixRule::kAlways && settings.prefix_before_space;
  if (prepend || every_text || settings.marks_in_normalizer) {
    json::array steps;
    if (prepend) steps.push_back(json::object{{"type", "Prepend"}, {"prepend", kWordStart}});
    if (every_text) {
      steps.push_back(Replace("Regex", TextStartExpression(tokenizer.added_tokens())));
    }
    if (bpe.spaces_are_marks) steps.push_back(Replace("String", " "));
    out["normalizer"] = {{"type", "Sequence"}, {"normalizers", std::move(steps)}};
  }
  if (prepend || every_text || !bpe.spaces_are_marks) return;
  const char* scheme = settings.prefix == PrefixRule::kNever   ? "never"
                       : settings.prefix == PrefixRule::kFirst ? "first"
                                                               : "always";
  out["pre_tokenizer"] = {{"type", "Metaspace"},
                          {"replacement", kWordStart},
                          {"prepend_scheme", scheme},
                          {"split", bpe.split_at_marks}};
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

std::string TextStartExpression(std::vector<AddedToken> added) {
  std::string tokens;
  for (const AddedToken& token : ById(std::move(added))) {
    if (!token.normalized) continue;
    if (!tokens.empty()) tokens += '|';
    for (const char c : token.content) {
      if (absl::StrContains("\\.*+?()[]{}|^$", c)) tokens += '\\';
      tokens += c;
    }
  }
  return absl::StrCat("\\A", tokens.empty() ? "" : absl::StrCat("(?!", tokens, ")"));
}

absl::StatusOr<std::string> TokenizerJson(const Tokenizer& tokenizer) {
  const auto* bpe = dynamic_cast<const Bpe*>(&tokenizer.base());
  if (bpe == nullptr) {
    return absl::UnimplementedError(
        "tokenizer.model: expected plain byte-pair encoding for a tokenizer.json, found another "
        "type");
  }
  json::object out{{"version", "1.0"}, {"truncation", nullptr}, {"padding", nullptr}};
  out["added_tokens"] = AddedTokens(tokenizer);
  PutPrefixRule(tokenizer, bpe->options(), out);
  out["post_processor"] = PostProcessor(tokenizer);
  out["decoder"] = Decoder(tokenizer.settings().strip_first_space);
  out["model"] = Model(tokenizer, *bpe);
  return json::serialize(out);
}

}  // namespace llava::model
