// ChatTemplate::ForCheckpoint: which template a checkpoint was made for.
#include <filesystem>
#include <optional>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "base/digest.h"
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

// Jinja without comments, without the generation marks that do not print, and without white space
// outside of quotes; a line end inside quotes is written as \n.
std::string Canonical(std::string_view jinja) {
  std::string out;
  char quote = 0;
  for (std::size_t i = 0; i < jinja.size(); ++i) {
    const char c = jinja[i];
    if (quote == 0 && jinja.substr(i).starts_with("{#")) {
      const std::size_t end = jinja.find("#}", i);
      if (end == std::string_view::npos) break;
      i = end + 1;
    } else if (quote == 0 && absl::ascii_isspace(static_cast<unsigned char>(c))) {
      continue;
    } else if (c == '\n') {
      out += "\\n";
    } else {
      if (quote == 0 && (c == '\'' || c == '"')) {
        quote = c;
      } else if (c == quote) {
        quote = 0;
      }
      out += c;
    }
  }
  return absl::StrReplaceAll(out, {{"{%generation%}", ""}, {"{%endgeneration%}", ""}});
}

// Besides our own, a chat template is known by the SHA-256 of its canonical text.
struct Known {
  std::string_view sha256;
  std::string_view name;
};
constexpr Known kKnown[] = {
    {"bb1754c8bb89d03c5508969b5b36c262e9e3c2451aa5b9c217ffee1d23413ae8", "hf"},
    {"9aead2babed758e533cf58d17583aff5e8e468c586f62048958dd0c17d9f04f6", "hf"},
    {"6ff40ff205f5a6417de440ed847ee79ff1ab2918cc004d8fbd16a12139b36456", "hf_joined"},
};

// llava/serve/cli.py chooses by the model's name; v1.5 is trained and evaluated with vicuna_v1.
std::string_view ByArchitecture(const LlavaConfig& config) {
  const std::string name = absl::AsciiStrToLower(absl::StrCat(config.name, " ", config.base_model));
  if (absl::StrContains(name, "llama-2")) return "llava_llama_2";
  if (absl::StrContains(name, "mistral") || config.text.model_type == "mistral") {
    return "mistral_instruct";
  }
  return "vicuna_v1";
}

}  // namespace

absl::StatusOr<ChatTemplate> ChatTemplate::ForCheckpoint(const std::string& dir,
                                                         const LlavaConfig& config) {
  ASSIGN_OR_RETURN(const std::optional<Found> found, FindTemplate(dir));
  if (!found.has_value()) return ByName(ByArchitecture(config));
  const std::string canonical = Canonical(found->jinja);
  const std::string digest = Sha256Of(canonical).Hex();
  for (const Known& known : kKnown) {
    if (known.sha256 == digest) return ByName(known.name);
  }
  for (const std::string& name : Names()) {
    ASSIGN_OR_RETURN(ChatTemplate ours, ByName(name));
    if (Canonical(ours.Jinja()) == canonical) return ours;
  }
  return absl::UnimplementedError(
      absl::StrCat((std::filesystem::path(dir) / found->file).string(),
                   ": chat_template: expected a known chat template, found another one (",
                   found->jinja.size(), " bytes, SHA-256 ", digest.substr(0, 16),
                   "...); the setting chat_template names one to use in its place: ",
                   absl::StrJoin(Names(), ", ")));
}

}  // namespace llava::model
