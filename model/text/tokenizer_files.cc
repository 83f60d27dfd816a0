// Tokenizer::Load: the files of a checkpoint that describe its tokenizer.
#include <algorithm>
#include <filesystem>
#include <memory>
#include <set>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/json_reader.h"
#include "base/status_macros.h"
#include "base/utf8_stream.h"
#include "boost/json/object.hpp"
#include "model/text/tokenizer.h"
#include "model/text/tokenizer_json.h"
#include "model/text/vocabulary.h"

namespace llava::model {
namespace {

constexpr std::size_t kMaxModelBytes = std::size_t{64} << 20;
constexpr std::int64_t kMaxId = (1 << 20) - 1;

// What is known about the tokenizer so far. Earlier files win: merge in order of precedence.
struct Description {
  std::vector<AddedToken> added;
  TokenizerSettings settings;
  // From tokenizer.json:
  bool json = false;                             // it counts
  std::unique_ptr<const Vocabulary> vocabulary;  // nullptr: tokenizer.model has it
  std::string first_token;                       // empty: none is put before a text
  // Names that tokenizer_config.json has for tokens that are special because of it.
  std::vector<std::string> named;
};

// An empty object when the file is not there.
absl::StatusOr<boost::json::object> ReadOptional(const std::string& path) {
  if (!IsThere(path)) return boost::json::object();
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
          .rstrip = reader.Bool("rstrip", false),
          .single_word = reader.Bool("single_word", false),
          .normalized = reader.Bool("normalized", false)};
}

// A token of a configuration is its text, or an object with "content".
std::string TokenName(JsonReader& reader, std::string_view key) {
  const boost::json::value* value = reader.Find(key);
  if (value == nullptr) return "";
  if (value->is_object()) return reader.Object(key).String("content", "");
  return reader.String(key, "");
}

// The slow tokenizer of the original code does not read this file where there is a
// tokenizer.model: only its added tokens count.
absl::Status ReadJson(const std::string& path, bool slow, Description& description) {
  ASSIGN_OR_RETURN(const auto object, ReadOptional(path));
  if (object.empty()) return absl::OkStatus();
  ASSIGN_OR_RETURN(TokenizerFile file, ReadTokenizerJson(object, path));
  for (AddedToken& token : file.added) {
    token.normalized &= !slow;
    Add(description, std::move(token));
  }
  if (slow) return absl::OkStatus();
  description.json = true;
  description.settings = std::move(file.settings);
  description.vocabulary = std::move(file.vocabulary);
  description.first_token = std::move(file.first_token);
  return absl::OkStatus();
}

void ReadAddedTokensDecoder(JsonReader& reader, Description& description) {
  const boost::json::value* tokens = reader.Find("added_tokens_decoder");
  if (tokens == nullptr) return;
  JsonReader decoder = reader.Object("added_tokens_decoder");
  if (!tokens->is_object()) return;
  for (const auto& [key, value] : tokens->get_object()) {
    int id = 0;
    if (!absl::SimpleAtoi(AbslView(key), &id) || id < 0) {
      return decoder.Fail({key.data(), key.size()}, "an id as its key");
    }
    JsonReader token = decoder.Object({key.data(), key.size()});
    Add(description, TokenOf(token, id));
  }
}

// Whether a text begins with BOS. As in transformers, the post-processor of a tokenizer.json
// decides it whatever the flag says.
bool ReadAddBos(JsonReader& reader, const Description& description) {
  if (description.vocabulary != nullptr) return !description.first_token.empty();
  return reader.Bool("add_bos_token", true);
}

absl::Status ReadTokenizerConfig(const std::string& path, Layout layout, Description& description) {
  ASSIGN_OR_RETURN(const auto object, ReadOptional(path));
  JsonReader reader(path, object);
  TokenizerSettings& settings = description.settings;
  if (description.vocabulary == nullptr) {
    settings.strip_first_space = reader.Bool("add_prefix_space", true);
  }
  if (!description.json) {
    settings.prefix = !reader.Bool("add_prefix_space", true) ? PrefixRule::kNever
                      : reader.Bool("legacy", true)          ? PrefixRule::kAlways
                                                             : PrefixRule::kFirst;
    settings.prefix_before_space = layout == Layout::kOriginal;
  }
  settings.add_bos = ReadAddBos(reader, description);
  settings.unk_token = TokenName(reader, "unk_token");
  settings.bos_token = TokenName(reader, "bos_token");
  settings.eos_token = TokenName(reader, "eos_token");
  for (const auto& [key, value] : object) {
    const std::string_view name(key.data(), key.size());
    if (name.ends_with("_token") && (value.is_string() || value.is_object())) {
      description.named.push_back(TokenName(reader, name));
    }
  }
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

// What only the whole can tell: pieces of tokenizer.json's vocabulary that are special by name, and
// the token that begins a text.
absl::Status CompleteJson(const std::string& path, Description& description) {
  const Vocabulary& vocabulary = *description.vocabulary;
  TokenizerSettings& settings = description.settings;
  const std::string& first = description.first_token;
  if (settings.add_bos && !first.empty()) {
    if (settings.bos_token.empty()) settings.bos_token = first;
    if (settings.bos_token != first) {
      return absl::InvalidArgumentError(
          absl::StrCat(path, ": post_processor: expected the bos_token \"", settings.bos_token,
                       "\" of tokenizer_config.json, found \"", first, "\""));
    }
  }
  for (const std::string& name : description.named) {
    const int id = vocabulary.IdOf(name);
    const bool known = std::any_of(description.added.begin(), description.added.end(),
                                   [&](const AddedToken& token) { return token.content == name; });
    if (known || name.empty() || id < 0 || vocabulary.piece(id) != name) continue;
    description.added.push_back({.content = name, .id = id, .special = true});
  }
  return absl::OkStatus();
}

// An error begins with the file's name.
absl::StatusOr<Tokenizer> Named(absl::StatusOr<Tokenizer> tokenizer, const std::string& path) {
  if (!tokenizer.ok()) return Annotate(tokenizer.status(), path);
  return tokenizer;
}

absl::StatusOr<Tokenizer> FromFiles(const std::string& model_path, const std::string& json_path,
                                    Description description) {
  if (description.vocabulary != nullptr) {
    RETURN_IF_ERROR(CompleteJson(json_path, description));
    return Named(
        Tokenizer::FromVocabulary(std::move(description.vocabulary), std::move(description.added),
                                  std::move(description.settings)),
        json_path);
  }
  auto model = ReadFile(model_path, kMaxModelBytes);
  if (absl::IsNotFound(model.status())) {
    return absl::NotFoundError(absl::StrCat(
        model_path,
        ": expected a sentencepiece model, or a tokenizer.json with a model beside it, "
        "found neither"));
  }
  RETURN_IF_ERROR(model.status());
  return Named(
      Tokenizer::FromModel(*model, std::move(description.added), std::move(description.settings)),
      model_path);
}

}  // namespace

absl::StatusOr<Tokenizer> Tokenizer::Load(const std::string& dir, Layout layout) {
  const std::filesystem::path folder(dir);
  const std::string model_path = (folder / "tokenizer.model").string();
  const std::string json_path = (folder / "tokenizer.json").string();
  const bool slow = layout == Layout::kOriginal && IsThere(model_path);
  Description description;
  std::set<std::string> special;
  RETURN_IF_ERROR(ReadJson(json_path, slow, description));
  RETURN_IF_ERROR(
      ReadTokenizerConfig((folder / "tokenizer_config.json").string(), layout, description));
  RETURN_IF_ERROR(
      ReadSpecialTokensMap((folder / "special_tokens_map.json").string(), description, special));
  RETURN_IF_ERROR(ReadAddedTokens((folder / "added_tokens.json").string(), special, description));
  return FromFiles(model_path, json_path, std::move(description));
}

}  // namespace llava::model
