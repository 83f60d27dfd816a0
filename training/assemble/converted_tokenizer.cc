#include "training/assemble/converted_tokenizer.h"

#include <boost/json.hpp>
#include <cstddef>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/durable_file.h"
#include "base/file.h"
#include "base/status_macros.h"
#include "model/text/tokenizer_json.h"

namespace llava::training {
namespace {

namespace json = boost::json;

using model::AddedToken;
using model::PrefixRule;
using model::Tokenizer;
using model::TokenizerSettings;

constexpr std::size_t kMaxModelBytes = std::size_t{64} << 20;

absl::Status WriteJson(const std::string& path, const json::object& object) {
  return WriteFile(path, json::serialize(object) + "\n");
}

json::object FlagsOf(const AddedToken& token) {
  return {{"content", token.content}, {"lstrip", token.lstrip}, {"normalized", token.normalized},
          {"rstrip", token.rstrip},   {"single_word", false},   {"special", token.special}};
}

// What both layouts' tokenizer_config.json have, the tokens `added` among it.
json::object ConfigOf(const Tokenizer& tokenizer, const std::vector<AddedToken>& added) {
  const PrefixRule prefix = tokenizer.settings().prefix;
  json::object config = {{"tokenizer_class", "LlamaTokenizer"},
                         {"legacy", prefix == PrefixRule::kAlways},
                         {"add_bos_token", tokenizer.adds_bos()},
                         {"add_eos_token", false},
                         {"bos_token", tokenizer.TokenText(tokenizer.bos_id())},
                         {"eos_token", tokenizer.TokenText(tokenizer.eos_id())},
                         {"unk_token", tokenizer.TokenText(tokenizer.unk_id())},
                         {"clean_up_tokenization_spaces", false}};
  if (prefix == PrefixRule::kNever) config["add_prefix_space"] = false;
  json::object& decoder = config["added_tokens_decoder"].emplace_object();
  for (const AddedToken& token : added) decoder[absl::StrCat(token.id)] = FlagsOf(token);
  return config;
}

absl::Status WriteSpecialTokens(const Tokenizer& tokenizer, const std::string& pad,
                                const std::string& folder) {
  return WriteJson(folder + "/special_tokens_map.json",
                   {{"bos_token", tokenizer.TokenText(tokenizer.bos_id())},
                    {"eos_token", tokenizer.TokenText(tokenizer.eos_id())},
                    {"unk_token", tokenizer.TokenText(tokenizer.unk_id())},
                    {"pad_token", pad}});
}

// Where a normalizer begins texts, spaces are marks before tokens with `normalized` are looked for.
std::string NoteOfWhiteSpace(const std::vector<AddedToken>& added) {
  for (const AddedToken& token : added) {
    if (!token.lstrip && !token.rstrip) continue;
    return absl::StrCat("white space beside ", token.content,
                        " goes into that token (lstrip, rstrip) in the original layout alone");
  }
  return "";
}

// What the slow tokenizer cannot do as `settings` say.
std::string NoteOfSlow(const TokenizerSettings& settings, const std::vector<AddedToken>& added) {
  switch (settings.prefix) {
    case PrefixRule::kFirst:
      if (settings.marks_in_normalizer) return NoteOfWhiteSpace(added);
      return "behind each picture, and before a space that begins a prompt, the original code has "
             "one token more, the word mark, which this checkpoint's tokenizer puts at a prompt's "
             "first word alone";
    case PrefixRule::kNever:
      return "versions of transformers that do not know add_prefix_space, such as the one that the "
             "original code asks for, put a word mark before every text, where this checkpoint's "
             "tokenizer puts none";
    case PrefixRule::kAlways:
      break;
  }
  if (!settings.prefix_before_space) {
    return "the original code puts a word mark also before a space that follows a picture or a "
           "special token, or begins a prompt: one token more than here";
  }
  for (const AddedToken& token : added) {
    if (!token.normalized || !settings.marks_in_normalizer) continue;
    return absl::StrCat("the original code finds ", token.content,
                        " anywhere in a prompt, this checkpoint's tokenizer only behind a space, "
                        "because it is marked as normalized");
  }
  return "";
}

}  // namespace

absl::StatusOr<std::string> WriteFastTokenizerFiles(const Tokenizer& slow,
                                                    const std::string& folder) {
  const int pieces = slow.base().size();
  TokenizerSettings settings = slow.settings();
  // Each text between pictures is one of its own to the slow tokenizer.
  const bool every_text = settings.prefix == PrefixRule::kFirst;
  settings.marks_in_normalizer = settings.spaces_in_normalizer = every_text;
  std::vector<AddedToken> added = slow.added_tokens();
  for (AddedToken& token : added) token.normalized = every_text;
  const std::string note = every_text ? NoteOfWhiteSpace(added) : "";
  added.push_back({.content = "<image>", .id = pieces, .special = true});
  added.push_back({.content = "<pad>", .id = pieces + 1, .special = true});
  ASSIGN_OR_RETURN(const std::string bytes, ReadFile(folder + "/tokenizer.model", kMaxModelBytes));
  ASSIGN_OR_RETURN(const Tokenizer fast, Tokenizer::FromModel(bytes, added, std::move(settings)));
  ASSIGN_OR_RETURN(const std::string text, model::TokenizerJson(fast));
  json::object config = ConfigOf(fast, added);
  config["pad_token"] = "<pad>";
  config["image_token"] = "<image>";
  config["extra_special_tokens"] = {{"image_token", "<image>"}};
  RETURN_IF_ERROR(WriteFile(folder + "/tokenizer.json", text));
  RETURN_IF_ERROR(WriteJson(folder + "/tokenizer_config.json", config));
  RETURN_IF_ERROR(WriteSpecialTokens(fast, "<pad>", folder));
  return note;
}

absl::StatusOr<std::string> WriteSlowTokenizerFiles(const Tokenizer& fast, int pieces,
                                                    int max_length, const std::string& folder) {
  std::vector<AddedToken> added = fast.added_tokens();
  const std::string note = NoteOfSlow(fast.settings(), added);
  std::erase_if(added, [pieces](const AddedToken& token) { return token.id >= pieces; });
  for (AddedToken& token : added) token.normalized = false;
  json::object config = ConfigOf(fast, added);
  config["pad_token"] = nullptr;
  config["model_max_length"] = max_length;
  config["padding_side"] = "right";
  config["sp_model_kwargs"] = json::object();
  RETURN_IF_ERROR(WriteJson(folder + "/tokenizer_config.json", config));
  RETURN_IF_ERROR(WriteSpecialTokens(fast, fast.TokenText(fast.unk_id()), folder));
  return note;
}

}  // namespace llava::training
