// ChatTemplate::ForCheckpoint: which template a checkpoint was made for.
#include <filesystem>
#include <optional>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/file.h"
#include "base/json_reader.h"
#include "base/status_macros.h"
#include "model/text/chat_template.h"

namespace llava::model {
namespace {

constexpr std::size_t kMaxTemplateBytes = std::size_t{1} << 20;

// The Jinja text of a checkpoint, and where it stands.
struct Found {
  std::string file;
  std::string jinja;
};

// "chat_template" is a text, or a list of named ones, of which "default" counts.
std::string TemplateOf(JsonReader& reader) {
  const boost::json::value* value = reader.Find("chat_template");
  if (value == nullptr || !value->is_array()) return reader.String("chat_template", "");
  for (const auto& item : value->get_array()) {
    if (!item.is_object()) continue;
    JsonReader named = reader.Element("chat_template", item.get_object());
    if (named.String("name", "") == "default") return named.String("template", "");
  }
  return "";
}

// In the order of transformers' processors. nullopt: no file has one.
absl::StatusOr<std::optional<Found>> FindTemplate(const std::filesystem::path& dir) {
  const auto jinja = dir / "chat_template.jinja";
  if (IsThere(jinja.string())) {
    ASSIGN_OR_RETURN(std::string text, ReadFile(jinja.string(), kMaxTemplateBytes));
    return Found{jinja.filename().string(), std::move(text)};
  }
  for (const std::string_view name : {"chat_template.json", "tokenizer_config.json"}) {
    const auto path = dir / name;
    if (!IsThere(path.string())) continue;
    ASSIGN_OR_RETURN(const auto object, ReadJsonObject(path.string()));
    JsonReader reader(path.string(), object);
    std::string text = TemplateOf(reader);
    RETURN_IF_ERROR(reader.status());
    if (!text.empty()) return Found{std::string(name), std::move(text)};
  }
  return std::nullopt;
}

// The special tokens' texts, as transformers gives them to templates.
void ReadSpecialTokens(JsonReader& reader, std::map<std::string, std::string>& texts) {
  for (const char* name : {"bos_token", "eos_token", "unk_token", "pad_token"}) {
    const boost::json::value* value = reader.Find(name);
    if (value == nullptr) continue;
    // A text, or an added token with its content.
    if (value->is_object()) value = value->get_object().if_contains("content");
    if (value != nullptr && value->is_string()) {
      texts.try_emplace(name, value->get_string().data(), value->get_string().size());
    }
  }
}

absl::StatusOr<TemplateTexts> ReadTexts(const std::filesystem::path& dir) {
  TemplateTexts texts;
  for (const std::string_view name :
       {"tokenizer_config.json", "special_tokens_map.json", "processor_config.json"}) {
    const auto path = dir / name;
    if (!IsThere(path.string())) continue;
    ASSIGN_OR_RETURN(const auto object, ReadJsonObject(path.string()));
    JsonReader reader(path.string(), object);
    ReadSpecialTokens(reader, texts.special_tokens);
    if (name == "processor_config.json") {
      texts.image_token = reader.String("image_token", texts.image_token);
      RETURN_IF_ERROR(reader.status());
    }
  }
  return texts;
}

// Those of the original code, which checkpoints carry that were trained with them here.
constexpr std::string_view kOriginal[] = {
    "vicuna_v1", "llava_v1", "llava_v0", "llava_llama_2", "mistral_instruct", "chatml", "plain"};

// "LLaVA-7b-v0", and no "v0.1" of something else.
bool IsV0(absl::string_view name) {
  for (std::size_t at = name.find("-v0"); at != name.npos; at = name.find("-v0", at + 1)) {
    const absl::string_view behind = name.substr(at + 3);
    if (behind.empty() || behind[0] == ' ' || behind[0] == '-') return true;
  }
  return false;
}

// llava/serve/cli.py chooses by the model's name; v1.5 is trained and evaluated with vicuna_v1.
std::string_view ByArchitecture(const LlavaConfig& config) {
  const std::string name = absl::AsciiStrToLower(absl::StrCat(config.name, " ", config.base_model));
  if (absl::StrContains(name, "llama-2")) return "llava_llama_2";
  if (absl::StrContains(name, "mistral") || config.text.model_type == "mistral") {
    return "mistral_instruct";
  }
  return absl::StrContains(name, "llava") && IsV0(name) ? "llava_v0" : "vicuna_v1";
}

}  // namespace

absl::StatusOr<ChatTemplate> ChatTemplate::ForCheckpoint(const std::string& dir,
                                                         const LlavaConfig& config) {
  ASSIGN_OR_RETURN(const std::optional<Found> found, FindTemplate(dir));
  if (!found.has_value()) return ByName(ByArchitecture(config));
  for (const std::string_view name : kOriginal) {
    ASSIGN_OR_RETURN(ChatTemplate original, ByName(name));
    if (original.Jinja() == found->jinja) return original;
  }
  ASSIGN_OR_RETURN(TemplateTexts texts, ReadTexts(dir));
  auto executed = ExecutedTemplate::Make(found->jinja, std::move(texts));
  if (executed.ok()) return ChatTemplate(found->file, *std::move(executed));
  return absl::InvalidArgumentError(absl::StrCat(
      (std::filesystem::path(dir) / found->file).string(),
      ": chat_template: ", executed.status().message(),
      "; the setting chat_template names one to use in its place: ", absl::StrJoin(Names(), ", ")));
}

}  // namespace llava::model
