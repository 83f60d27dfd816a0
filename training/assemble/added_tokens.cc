#include "training/assemble/added_tokens.h"

#include <boost/json.hpp>
#include <filesystem>
#include <optional>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "base/durable_file.h"
#include "base/file.h"
#include "base/json_reader.h"
#include "base/status_macros.h"
#include "model/config/config.h"
#include "model/text/tokenizer.h"
#include "model/text/tokenizer_json.h"

namespace llava::training {
namespace {

namespace json = boost::json;

constexpr std::size_t kMaxModelBytes = std::size_t{64} << 20;
constexpr char kImage[] = "<image>";
constexpr char kPad[] = "<pad>";

absl::StatusOr<json::object> ReadOptional(const std::string& path) {
  if (!IsThere(path)) return json::object();
  return ReadJsonObject(path);
}

absl::Status WriteJson(const std::string& path, const json::object& object) {
  return WriteFile(path, json::serialize(object) + "\n");
}

// A token of a configuration is its text, or an object with "content".
std::string TokenText(const json::object& object, const char* key) {
  const json::value* value = object.if_contains(key);
  if (value == nullptr) return "";
  if (value->is_object()) value = value->get_object().if_contains("content");
  if (value == nullptr || !value->is_string()) return "";
  return std::string(value->get_string());
}

// The padding token that the files name; empty for none that may be kept.
absl::StatusOr<std::string> NamedPad(const std::string& folder) {
  for (const char* file : {"/tokenizer_config.json", "/special_tokens_map.json"}) {
    ASSIGN_OR_RETURN(const json::object object, ReadOptional(folder + file));
    const std::string pad = TokenText(object, "pad_token");
    if (pad.empty()) continue;
    const bool shared =
        pad == TokenText(object, "unk_token") || pad == TokenText(object, "eos_token");
    return shared ? "" : pad;
  }
  return std::string();
}

json::object SpecialToken(const std::string& content) {
  return {{"content", content}, {"lstrip", false},      {"normalized", false},
          {"rstrip", false},    {"single_word", false}, {"special", true}};
}

absl::Status WriteTokenizerJson(const VocabularyPlan& plan, const std::string& from,
                                const std::string& to) {
  ASSIGN_OR_RETURN(json::object object, ReadJsonObject(from));
  json::value& added = object["added_tokens"];
  if (!added.is_array()) added = json::array();
  int id = plan.first_added;
  for (const std::string& token : plan.added) {
    json::object entry = {{"id", id++}};
    for (const auto& [key, value] : SpecialToken(token)) entry[key] = value;
    added.get_array().push_back(std::move(entry));
  }
  return WriteJson(to, object);
}

absl::Status WriteTokenizerConfig(const VocabularyPlan& plan, bool has_json,
                                  const std::string& from, const std::string& to) {
  ASSIGN_OR_RETURN(json::object object, ReadOptional(from));
  if (object.empty()) object["tokenizer_class"] = "LlamaTokenizer";
  object.erase("chat_template");  // of the language model alone: it knows no pictures
  object["processor_class"] = "LlavaProcessor";
  object["pad_token"] = plan.pad;
  object["image_token"] = kImage;
  object["extra_special_tokens"] = {{"image_token", kImage}};
  if (object.contains("added_tokens_decoder") || !has_json) {
    json::value& decoder = object["added_tokens_decoder"];
    if (!decoder.is_object()) decoder = json::object();
    int id = plan.first_added;
    for (const std::string& token : plan.added) {
      decoder.get_object()[absl::StrCat(id++)] = SpecialToken(token);
    }
  }
  return WriteJson(to, object);
}

absl::Status CheckWritten(const VocabularyPlan& plan, const std::string& folder) {
  ASSIGN_OR_RETURN(const model::Tokenizer tokenizer,
                   model::Tokenizer::Load(folder, model::Layout::kHuggingFace));
  if (tokenizer.IdOf(kImage) == plan.image_id && tokenizer.IdOf(plan.pad) == plan.pad_id) {
    return absl::OkStatus();
  }
  return absl::InternalError(
      absl::StrCat(folder, ": the tokenizer that was written does not give <image> the id ",
                   plan.image_id, " and ", plan.pad, " the id ", plan.pad_id));
}

}  // namespace

absl::StatusOr<VocabularyPlan> PlanVocabulary(const std::string& folder) {
  ASSIGN_OR_RETURN(const model::Tokenizer tokenizer,
                   model::Tokenizer::Load(folder, model::Layout::kHuggingFace));
  VocabularyPlan plan;
  plan.first_added = plan.tokens = tokenizer.vocab_size();
  const auto id_of = [&](const std::string& token) {
    if (const std::optional<int> id = tokenizer.IdOf(token)) return *id;
    plan.added.push_back(token);
    return plan.tokens++;
  };
  plan.image_id = id_of(kImage);
  ASSIGN_OR_RETURN(plan.pad, NamedPad(folder));
  if (plan.pad.empty() || !tokenizer.IdOf(plan.pad).has_value()) plan.pad = kPad;
  plan.pad_id = id_of(plan.pad);
  plan.turn_end_id = tokenizer.IdOf("<|im_end|>").value_or(-1);
  return plan;
}

absl::Status WriteTokenizerWith(const VocabularyPlan& plan, const std::string& source,
                                const std::string& folder) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);  // shows when files cannot be written
  const bool has_json = IsThere(source + "/tokenizer.json");
  if (IsThere(source + "/tokenizer.model")) {
    ASSIGN_OR_RETURN(const std::string bytes,
                     ReadFile(source + "/tokenizer.model", kMaxModelBytes));
    RETURN_IF_ERROR(WriteFile(folder + "/tokenizer.model", bytes));
  }
  if (IsThere(source + "/added_tokens.json")) {
    ASSIGN_OR_RETURN(json::object object, ReadJsonObject(source + "/added_tokens.json"));
    int id = plan.first_added;
    for (const std::string& token : plan.added) object[token] = id++;
    RETURN_IF_ERROR(WriteJson(folder + "/added_tokens.json", object));
  }
  RETURN_IF_ERROR(WriteTokenizerConfig(plan, has_json, source + "/tokenizer_config.json",
                                       folder + "/tokenizer_config.json"));
  ASSIGN_OR_RETURN(json::object special, ReadOptional(source + "/special_tokens_map.json"));
  special["pad_token"] = plan.pad;
  RETURN_IF_ERROR(WriteJson(folder + "/special_tokens_map.json", special));
  if (has_json) {
    RETURN_IF_ERROR(
        WriteTokenizerJson(plan, source + "/tokenizer.json", folder + "/tokenizer.json"));
  } else {  // with tokenizer.model alone, versions of transformers disagree
    ASSIGN_OR_RETURN(const model::Tokenizer tokenizer,
                     model::Tokenizer::Load(folder, model::Layout::kHuggingFace));
    ASSIGN_OR_RETURN(const std::string text, model::TokenizerJson(tokenizer));
    RETURN_IF_ERROR(WriteFile(folder + "/tokenizer.json", text));
  }
  return CheckWritten(plan, folder);
}

}  // namespace llava::training
