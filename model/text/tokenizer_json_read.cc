// The reading half of model/text/tokenizer_json.h.
#include <algorithm>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/json_reader.h"
#include "base/status_macros.h"
#include "base/utf8_stream.h"
#include "boost/json/array.hpp"
#include "model/text/bpe.h"
#include "model/text/byte_level.h"
#include "model/text/split_expression.h"
#include "model/text/tokenizer_json.h"

namespace llava::model {
namespace {

namespace json = boost::json;

constexpr std::string_view kMark = "\xE2\x96\x81";
constexpr std::int64_t kMaxId = (1 << 20) - 1;

class Reader {
 public:
  Reader(const json::object& object, const std::string& file) : reader_(file, object) {
    file_.settings.prefix = PrefixRule::kNever;
    file_.settings.prefix_before_space = false;
    options_.spaces_are_marks = false;
  }

  absl::StatusOr<TokenizerFile> Read() {
    ReadAddedTokens();
    if (reader_.Has("normalizer")) ReadNormalizer(reader_.Object("normalizer"));
    if (reader_.Has("pre_tokenizer")) ReadPreTokenizer(reader_.Object("pre_tokenizer"));
    if (!reader_.Has("model")) return Finish();
    ReadPostProcessor();
    ReadDecoder();
    ReadModel(reader_.Object("model"));
    RETURN_IF_ERROR(reader_.status());
    CheckAddedIds();
    RETURN_IF_ERROR(reader_.status());
    auto bpe = Bpe::Create(std::move(entries_), std::move(merges_), options_);
    if (!bpe.ok()) {
      return absl::InvalidArgumentError(
          absl::StrCat(reader_.file(), ": model.", bpe.status().message()));
    }
    std::unique_ptr<const Bpe> pieces = *std::move(bpe);
    if (byte_level_) {
      file_.vocabulary = std::make_unique<ByteLevel>(std::move(pieces), std::move(splits_), nfc_);
    } else {
      file_.vocabulary = std::move(pieces);
    }
    return Finish();
  }

 private:
  absl::StatusOr<TokenizerFile> Finish() {
    RETURN_IF_ERROR(reader_.status());
    return std::move(file_);
  }

  // The list of objects at `key` of `reader`.
  std::vector<JsonReader> ListOf(JsonReader& reader, std::string_view key) {
    std::vector<JsonReader> items;
    const json::value* list = reader.Find(key);
    if (list == nullptr) return items;
    if (!list->is_array()) {
      reader.Fail(key, "a list of objects");
      return items;
    }
    for (const json::value& item : list->get_array()) {
      if (!item.is_object()) {
        reader.Fail(key, "a list of objects");
        break;
      }
      items.push_back(reader.Element(key, item.get_object()));
    }
    return items;
  }

  void ReadAddedTokens() {
    for (JsonReader& token : ListOf(reader_, "added_tokens")) {
      const int id = static_cast<int>(token.Int("id", -1, 0, kMaxId));
      if (id < 0) token.Fail("id", "the token's id");
      if (!reader_.status().ok()) return;
      file_.added.push_back({.content = token.String("content", ""),
                             .id = id,
                             .special = token.Bool("special", false),
                             .lstrip = token.Bool("lstrip", false),
                             .rstrip = token.Bool("rstrip", false),
                             .single_word = token.Bool("single_word", false),
                             .normalized = token.Bool("normalized", false)});
    }
  }

  void ReadNormalizer(JsonReader normalizer) {
    const std::string type = normalizer.String("type", "");
    if (type == "Sequence") {
      for (JsonReader& step : ListOf(normalizer, "normalizers")) ReadStep(step);
    } else {
      ReadStep(normalizer);
    }
  }

  void ReadStep(JsonReader& step) {
    const std::string type = step.String("type", "");
    if (type == "NFC") {
      nfc_ = true;
      return;
    }
    TokenizerSettings& settings = file_.settings;
    settings.marks_in_normalizer = true;
    if (type == "Prepend") {
      if (step.String("prepend", std::string(kMark)) != kMark || prepends_ || every_text_) {
        step.Fail("prepend", "U+2581, once");
      }
      prepends_ = true;
    } else if (type == "Replace") {
      ReadReplace(step);
    } else {
      step.Fail("type", "a normalizer of Llama tokenizers (Prepend, Replace, a Sequence of them)");
    }
    settings.prefix = every_text_ ? PrefixRule::kFirst
                      : prepends_ ? PrefixRule::kAlways
                                  : PrefixRule::kNever;
    settings.prefix_before_space = prepends_ || every_text_;
  }

  // The start of every text gets a mark, or spaces become marks.
  void ReadReplace(JsonReader& step) {
    JsonReader pattern = step.Object("pattern");
    const bool first = !prepends_ && !every_text_ && !file_.settings.spaces_in_normalizer;
    if (pattern.Has("Regex")) {
      const std::string start = TextStartExpression(file_.added);
      if (pattern.String("Regex", "") != start || !first) {
        pattern.Fail("Regex", absl::StrCat(start, ", first and without Prepend"));
      }
      every_text_ = true;
    } else {
      if (pattern.String("String", "") != " ") step.Fail("pattern", "a space replaced by U+2581");
      options_.spaces_are_marks = true;
      file_.settings.spaces_in_normalizer = true;
    }
    if (step.String("content", "") != kMark) step.Fail("content", "U+2581");
  }

  void ReadPreTokenizer(JsonReader pre_tokenizer) {
    const std::string type = pre_tokenizer.String("type", "");
    if (type == "Metaspace") return ReadMetaspace(std::move(pre_tokenizer));
    if (type == "Sequence") {
      for (JsonReader& step : ListOf(pre_tokenizer, "pretokenizers")) ReadSplitOrByteLevel(step);
    } else {
      ReadSplitOrByteLevel(pre_tokenizer);
    }
    if (!byte_level_) pre_tokenizer.Fail("type", "a ByteLevel at the end");
  }

  void ReadSplitOrByteLevel(JsonReader& step) {
    const std::string type = step.String("type", "");
    if (byte_level_) return step.Fail("type", "nothing behind ByteLevel");
    if (type == "Split") return ReadSplit(step);
    if (type == "Digits") {
      const bool each = step.Bool("individual_digits", false);
      return AddSplit(step, "individual_digits", each ? R"(\p{N})" : R"(\p{N}+)");
    }
    if (type != "ByteLevel") {
      return step.Fail("type",
                       "a supported pre-tokenizer (Metaspace; Splits, Digits and ByteLevel)");
    }
    if (step.Bool("add_prefix_space", true)) step.Fail("add_prefix_space", "false");
    if (step.Bool("use_regex", true)) AddSplit(step, "use_regex", kGpt2Expression);
    byte_level_ = true;
  }

  void ReadSplit(JsonReader& step) {
    if (step.String("behavior", "") != "Isolated") step.Fail("behavior", "Isolated");
    if (step.Bool("invert", false)) step.Fail("invert", "false");
    JsonReader pattern = step.Object("pattern");
    if (!pattern.Has("Regex")) return pattern.Fail("Regex", "a regular expression");
    AddSplit(pattern, "Regex", pattern.String("Regex", ""));
  }

  void AddSplit(JsonReader& reader, std::string_view key, const std::string& expression) {
    auto split = SplitExpression::Create(expression);
    if (!split.ok()) {
      return reader.Fail(key, StdView(absl::StripPrefix(split.status().message(), "expected ")));
    }
    splits_.push_back(*std::move(split));
  }

  void ReadMetaspace(JsonReader metaspace) {
    if (prepends_ || every_text_) {
      return metaspace.Fail("type", "no pre-tokenizer beside a normalizer Prepend or Regex");
    }
    if (metaspace.String("replacement", std::string(kMark)) != kMark) {
      metaspace.Fail("replacement", "U+2581");
    }
    const bool older = metaspace.Bool("add_prefix_space", true);
    const std::string scheme = metaspace.String("prepend_scheme", older ? "always" : "never");
    if (scheme != "always" && scheme != "first" && scheme != "never") {
      return metaspace.Fail("prepend_scheme", "always, first or never");
    }
    if (!older && scheme != "never") metaspace.Fail("prepend_scheme", "add_prefix_space's never");
    file_.settings.prefix = scheme == "always"  ? PrefixRule::kAlways
                            : scheme == "first" ? PrefixRule::kFirst
                                                : PrefixRule::kNever;
    file_.settings.prefix_before_space = false;
    options_.spaces_are_marks = true;
    options_.split_at_marks = metaspace.Bool("split", true);
  }

  // "single" is a text, A, with or without one special token before it.
  void ReadPostProcessor() {
    if (!reader_.Has("post_processor")) return;
    JsonReader processor = reader_.Object("post_processor");
    if (processor.String("type", "") != "Sequence") return ReadProcessor(processor);
    for (JsonReader& step : ListOf(processor, "processors")) ReadProcessor(step);
  }

  void ReadProcessor(JsonReader& processor) {
    const std::string type = processor.String("type", "");
    if (type == "ByteLevel") return;  // about offsets into the text
    if (type != "TemplateProcessing" || !file_.first_token.empty()) {
      return processor.Fail("type", "TemplateProcessing, once, or ByteLevel");
    }
    std::vector<JsonReader> parts = ListOf(processor, "single");
    if (parts.size() == 2) file_.first_token = parts[0].Object("SpecialToken").String("id", "");
    const bool with_first = parts.size() == 2 && !file_.first_token.empty();
    if ((!with_first && parts.size() != 1) ||
        parts.back().Object("Sequence").String("id", "") != "A") {
      return processor.Fail("single", "a sequence A with at most one special token before it");
    }
  }

  // Marks to spaces, bytes to characters, all joined, one space less at the start.
  void ReadDecoder() {
    JsonReader decoder = reader_.Object("decoder");
    if (byte_level_) {
      file_.settings.strip_first_space = false;
      if (decoder.String("type", "") != "ByteLevel") decoder.Fail("type", "ByteLevel");
      if (file_.settings.marks_in_normalizer) {
        reader_.Fail("normalizer", "NFC or none before the pre-tokenizer ByteLevel");
      }
      return;
    }
    if (nfc_) return reader_.Fail("normalizer", "NFC only before the pre-tokenizer ByteLevel");
    std::vector<JsonReader> steps = ListOf(decoder, "decoders");
    const auto type_is = [&](std::size_t i, std::string_view type) {
      return i < steps.size() && steps[i].String("type", "") == type;
    };
    if (decoder.String("type", "") != "Sequence" || !type_is(0, "Replace") ||
        steps[0].Object("pattern").String("String", "") != kMark ||
        steps[0].String("content", "") != " " || !type_is(1, "ByteFallback") ||
        !type_is(2, "Fuse") || steps.size() > 4) {
      return reader_.Fail("decoder",
                          "the decoder of Llama tokenizers: a Sequence of Replace (U+2581 by a "
                          "space), ByteFallback, Fuse and perhaps Strip");
    }
    file_.settings.strip_first_space = false;
    if (steps.size() == 3) return;
    if (!type_is(3, "Strip") || steps[3].String("content", "") != " " ||
        steps[3].Int("stop", 0, 0, kMaxId) != 0) {
      return steps[3].Fail("type", "Strip of spaces at the start");
    }
    file_.settings.strip_first_space = steps[3].Int("start", 0, 0, 1) == 1;
  }

  void ReadModel(JsonReader model) {
    if (model.String("type", "BPE") != "BPE") model.Fail("type", "BPE");
    if (model.Double("dropout", 0, 0, 1) != 0) model.Fail("dropout", "nothing, or 0");
    for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
      if (!model.String(key, "").empty()) model.Fail(key, "nothing");
    }
    options_.fuse_unk = model.Bool("fuse_unk", false);
    options_.byte_fallback = model.Bool("byte_fallback", false);
    options_.ignore_merges = model.Bool("ignore_merges", false);
    ReadVocab(model);
    if (reader_.status().ok()) ReadMerges(model);
    const std::string unk = model.String("unk_token", "");
    if (unk.empty() || !reader_.status().ok()) return;
    const auto found = ids_.find(unk);
    if (found == ids_.end()) return model.Fail("unk_token", "a piece of vocab");
    options_.unk = found->second;
    entries_[static_cast<std::size_t>(found->second)].kind = Vocabulary::Kind::kUnknown;
  }

  void ReadVocab(JsonReader& model) {
    const json::value* vocab = model.Find("vocab");
    if (vocab == nullptr || !vocab->is_object() || vocab->get_object().empty()) {
      return model.Fail("vocab", "an object of pieces and their ids");
    }
    JsonReader ids = model.Object("vocab");
    for (const auto& [key, value] : vocab->get_object()) {
      if (!value.is_int64() || value.get_int64() < 0 || value.get_int64() > kMaxId) {
        return ids.Fail(StdView(key), absl::StrCat("an id from 0 to ", kMaxId));
      }
      const auto id = static_cast<std::size_t>(value.get_int64());
      if (entries_.size() <= id) entries_.resize(id + 1);
      if (!entries_[id].text.empty() || key.empty()) {
        return ids.Fail(StdView(key), "an id that no other piece has");
      }
      const auto kind = byte_level_ ? Vocabulary::Kind::kText : KindOf(StdView(key));
      entries_[id] = {std::string(StdView(key)), kind};
      ids_.emplace(StdView(key), static_cast<int>(id));
    }
  }

  // tokenizers' ByteFallback decoder reads every token of this shape as a byte.
  static Vocabulary::Kind KindOf(std::string_view text) {
    const auto is_digit = [](char c) {
      return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
    };
    const bool byte = text.size() == 6 && text.starts_with("<0x") && text[5] == '>' &&
                      is_digit(text[3]) && is_digit(text[4]);
    return byte ? Vocabulary::Kind::kByte : Vocabulary::Kind::kText;
  }

  // A merge is "left right", or a list of the two. The later of two same ones counts.
  void ReadMerges(JsonReader& model) {
    const json::value* list = model.Find("merges");
    if (list == nullptr || !list->is_array()) return model.Fail("merges", "a list of pairs");
    int rank = 0;
    for (const json::value& item : list->get_array()) {
      std::string_view left;
      std::string_view right;
      if (item.is_string()) {
        const std::string_view text = StdView(item.get_string());
        const std::size_t space = text.find(' ');
        left = text.substr(0, space);
        if (space != std::string_view::npos) right = text.substr(space + 1);
      } else if (item.is_array() && item.get_array().size() == 2 &&
                 item.get_array()[0].is_string() && item.get_array()[1].is_string()) {
        left = StdView(item.get_array()[0].get_string());
        right = StdView(item.get_array()[1].get_string());
      }
      const auto left_id = ids_.find(left);
      const auto right_id = ids_.find(right);
      const auto result = ids_.find(std::string(left).append(right));
      if (left_id == ids_.end() || right_id == ids_.end() || result == ids_.end()) {
        return model.Fail("merges", absl::StrCat("pairs of pieces whose text together is a piece, ",
                                                 "not what stands at ", rank));
      }
      merges_.push_back({left_id->second, right_id->second, result->second, rank++});
    }
  }

  // The tokenizers library numbers added tokens itself, whatever the file says.
  void CheckAddedIds() {
    int next = static_cast<int>(ids_.size());
    for (const AddedToken& token : file_.added) {
      const auto known = ids_.find(token.content);
      const int expected = known == ids_.end() ? next : known->second;
      if (token.id != expected) {
        return reader_.Fail("added_tokens",
                            absl::StrCat("\"", token.content, "\" to have the id ", expected,
                                         known == ids_.end() ? " (the next one)" : " (of vocab)",
                                         ", not ", token.id));
      }
      next = std::max(next, token.id + 1);
    }
  }

  JsonReader reader_;
  TokenizerFile file_;
  bool prepends_ = false;
  bool every_text_ = false;
  bool byte_level_ = false;
  bool nfc_ = false;
  std::vector<SplitExpression> splits_;
  Bpe::Options options_;
  std::vector<Bpe::Entry> entries_;
  std::vector<Bpe::Merge> merges_;
  std::unordered_map<std::string_view, int> ids_;  // texts lie in the JSON object
};

}  // namespace

absl::StatusOr<TokenizerFile> ReadTokenizerJson(const json::object& object,
                                                const std::string& file) {
  return Reader(object, file).Read();
}

}  // namespace llava::model
