// Tokenizer::Load: the files of a checkpoint that describe its tokenizer.
#include <filesystem>
#include <set>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/json_reader.h"
#include "base/status_macros.h"
#include "boost/json/object.hpp"
#include "model/text/tokenizer.h"

namespace llava::model {
namespace {

constexpr std::size_t kMaxModelBytes = std::size_t{64} << 20;
constexpr std::int64_t kMaxId = (1 << 20) - 1;

// What is known about the tokenizer so far. Earlier files win: merge in order of precedence.
struct Description {
  std::vector<AddedToken> added;
  TokenizerSettings settings;
  bool prefix_known = false;  // by tokenizer.json
};

// An empty object when the file is not there.
absl::StatusOr<boost::json::object> ReadOptional(const std::string& path) {
  std::error_code error;
  if (!std::filesystem::exists(path, error)) return boost::json::object();
  return ReadJsonObject(path);
}

// The first description of a token counts. A clash of ids is found by Tokenizer::FromModel.
void Add(Description& description, AddedToken token) {
  for (const AddedToken& known : description.added) {
    if (known.content == token.content && known.id == token.id) return;
  }
  description.added.push_back(std::move(token));
}

AddedToken TokenOf(JsonReader& reader, int id) {
  return {.content = reader.String("content", ""),
          .id = id,
          .special = reader.Bool("special", false),
          .lstrip = reader.Bool("lstrip", false),
          .rstrip = reader.Bool("rstrip", false)};
}

// A token of a configuration is its text, or an object with "content".
std::string TokenName(JsonReader& reader, std::string_view key) {
  const boost::json::value* value = reader.Find(key);
  if (value == nullptr) return "";
  if (value->is_object()) return reader.Object(key).String("content", "");
  return reader.String(key, "");
}

// Prepend (older checkpoints) puts the mark before every segment, spaces or not.
void ReadNormalizer(JsonReader normalizer, Description& description) {
  const std::string type = normalizer.String("type", "");
  if (type == "Prepend") {
    description.settings.prefix = PrefixRule::kAlways;
    description.settings.prefix_before_space = true;
  } else if (type == "Sequence") {
    const boost::json::value* list = normalizer.Find("normalizers");
    if (list == nullptr || !list->is_array()) return normalizer.Fail("normalizers", "a list");
    for (const auto& item : list->get_array()) {
      if (!item.is_object()) return normalizer.Fail("normalizers", "a list of objects");
      JsonReader nested = normalizer.Element("normalizers", item.get_object());
      if (nested.String("type", "") == "Sequence") return nested.Fail("type", "no nested Sequence");
      ReadNormalizer(nested, description);
    }
  } else if (type == "Replace") {
    const std::string pattern = normalizer.Object("pattern").String("String", "");
    if (pattern != " " || normalizer.String("content", "") != "\xE2\x96\x81") {
      normalizer.Fail("pattern", "a space replaced by U+2581");
    }
  } else {
    normalizer.Fail("type", "a normalizer of Llama tokenizers (Sequence, Prepend, Replace)");
  }
}

void ReadPreTokenizer(JsonReader metaspace, Description& description) {
  if (metaspace.String("type", "") != "Metaspace") {
    return metaspace.Fail("type", "the pre-tokenizer of Llama tokenizers (Metaspace)");
  }
  const bool older = metaspace.Bool("add_prefix_space", true);
  const std::string scheme = metaspace.String("prepend_scheme", older ? "always" : "never");
  if (scheme != "always" && scheme != "first" && scheme != "never") {
    return metaspace.Fail("prepend_scheme", "always, first or never");
  }
  description.settings.prefix = scheme == "always"  ? PrefixRule::kAlways
                                : scheme == "first" ? PrefixRule::kFirst
                                                    : PrefixRule::kNever;
  description.settings.prefix_before_space = false;
}

// The slow tokenizer of the original code does not read this file: only its added tokens count.
absl::Status ReadTokenizerJson(const std::string& path, Layout layout, Description& description) {
  ASSIGN_OR_RETURN(const auto object, ReadOptional(path));
  if (object.empty()) return absl::OkStatus();
  JsonReader reader(path, object);
  if (layout == Layout::kHuggingFace) {
    description.prefix_known = true;
    description.settings.prefix = PrefixRule::kNever;
    if (reader.Has("normalizer")) ReadNormalizer(reader.Object("normalizer"), description);
    if (reader.Has("pre_tokenizer")) ReadPreTokenizer(reader.Object("pre_tokenizer"), description);
  }
  if (const boost::json::value* list = reader.Find("added_tokens"); list != nullptr) {
    if (!list->is_array()) reader.Fail("added_tokens", "a list");
    for (const auto& item : list->is_array() ? list->get_array() : boost::json::array()) {
      if (!item.is_object()) reader.Fail("added_tokens", "a list of objects");
      if (!reader.status().ok()) break;
      JsonReader token = reader.Element("added_tokens", item.get_object());
      const int id = static_cast<int>(token.Int("id", -1, 0, kMaxId));
      if (id < 0) token.Fail("id", "the token's id");
      Add(description, TokenOf(token, id));
    }
  }
  return reader.status();
}

void ReadAddedTokensDecoder(JsonReader& reader, Description& description) {
  const boost::json::value* tokens = reader.Find("added_tokens_decoder");
  if (tokens == nullptr) return;
  JsonReader decoder = reader.Object("added_tokens_decoder");
  if (!tokens->is_object()) return;
  for (const auto& [key, value] : tokens->get_object()) {
    int id = 0;
    if (!absl::SimpleAtoi(absl::string_view(key.data(), key.size()), &id) || id < 0) {
      return decoder.Fail({key.data(), key.size()}, "an id as its key");
    }
    JsonReader token = decoder.Object({key.data(), key.size()});
    Add(description, TokenOf(token, id));
  }
}

absl::Status ReadTokenizerConfig(const std::string& path, Layout layout, Description& description) {
  ASSIGN_OR_RETURN(const auto object, ReadOptional(path));
  JsonReader reader(path, object);
  TokenizerSettings& settings = description.settings;
  const bool prefix = reader.Bool("add_prefix_space", true);
  settings.strip_first_space = prefix;
  if (!description.prefix_known) {
    settings.prefix = !prefix                       ? PrefixRule::kNever
                      : reader.Bool("legacy", true) ? PrefixRule::kAlways
                                                    : PrefixRule::kFirst;
    settings.prefix_before_space = layout == Layout::kOriginal;
  }
  settings.add_bos = reader.Bool("add_bos_token", true);
  settings.unk_token = TokenName(reader, "unk_token");
  settings.bos_token = TokenName(reader, "bos_token");
  settings.eos_token = TokenName(reader, "eos_token");
  ReadAddedTokensDecoder(reader, description);
  return reader.status();
}

absl::Status ReadSpecialTokensMap(const std::string& path, Description& description,
                                  std::set<std::string>& special) {
  ASSIGN_OR_RETURN(const auto object, ReadOptional(path));
  JsonReader reader(path, object);
  for (const auto& [key, value] : object) {
    const std::string_view name(key.data(), key.size());
    if (!value.is_array()) {
      special.insert(TokenName(reader, name));
      continue;
    }
    for (const auto& item : value.get_array()) {
      if (item.is_string()) special.insert(std::string(item.get_string()));
    }
  }
  TokenizerSettings& settings = description.settings;
  if (settings.unk_token.empty()) settings.unk_token = TokenName(reader, "unk_token");
  if (settings.bos_token.empty()) settings.bos_token = TokenName(reader, "bos_token");
  if (settings.eos_token.empty()) settings.eos_token = TokenName(reader, "eos_token");
  return reader.status();
}

// Older checkpoints: {"<image>": 32000, ...}.
absl::Status ReadAddedTokens(const std::string& path, const std::set<std::string>& special,
                             Description& description) {
  ASSIGN_OR_RETURN(const auto object, ReadOptional(path));
  JsonReader reader(path, object);
  for (const auto& [key, value] : object) {
    const std::string content(key.data(), key.size());
    const int id = static_cast<int>(reader.Int(content, -1, 0, kMaxId));
    if (id < 0) reader.Fail(content, "an id");
    Add(description, {.content = content, .id = id, .special = special.contains(content)});
  }
  return reader.status();
}

}  // namespace

absl::StatusOr<Tokenizer> Tokenizer::Load(const std::string& dir, Layout layout) {
  const std::filesystem::path folder(dir);
  const std::string model_path = (folder / "tokenizer.model").string();
  auto model = ReadFile(model_path, kMaxModelBytes);
  if (absl::IsNotFound(model.status())) {
    std::error_code error;
    return absl::NotFoundError(
        absl::StrCat(model_path, ": expected a sentencepiece model, found no such file",
                     std::filesystem::exists(folder / "tokenizer.json", error)
                         ? " (tokenizer.json alone is not supported)"
                         : ""));
  }
  RETURN_IF_ERROR(model.status());
  Description description;
  std::set<std::string> special;
  RETURN_IF_ERROR(ReadTokenizerJson((folder / "tokenizer.json").string(), layout, description));
  RETURN_IF_ERROR(
      ReadTokenizerConfig((folder / "tokenizer_config.json").string(), layout, description));
  RETURN_IF_ERROR(
      ReadSpecialTokensMap((folder / "special_tokens_map.json").string(), description, special));
  RETURN_IF_ERROR(ReadAddedTokens((folder / "added_tokens.json").string(), special, description));
  auto tokenizer = FromModel(*model, std::move(description.added), std::move(description.settings));
  if (!tokenizer.ok()) return Annotate(tokenizer.status(), model_path);
  return tokenizer;
}

}  // namespace llava::model
