#include "training/assemble/parts_config.h"

#include <algorithm>
#include <boost/json.hpp>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/json_reader.h"
#include "base/status_macros.h"
#include "model/config/config_fields.h"
#include "model/config/text_config.h"
#include "model/config/vision_config.h"
#include "training/assemble/vocabulary_rows.h"

namespace llava::training {
namespace {

namespace json = boost::json;

// What belongs to a file as a whole, not to a part of another one.
constexpr const char* kOfWholeFiles[] = {"architectures", "transformers_version", "auto_map"};

json::object WithoutFileKeys(json::object object) {
  for (const char* key : kOfWholeFiles) object.erase(key);
  return object;
}

// The tower's own configuration, in a file of the whole CLIP or of the tower alone.
absl::StatusOr<json::object> TowerObject(const json::object& file, const std::string& path) {
  RETURN_IF_ERROR(model::ParseTowerConfig(json::serialize(file), path).status());
  const json::value* nested = file.if_contains("vision_config");
  json::object tower =
      WithoutFileKeys(nested != nullptr && nested->is_object() ? nested->get_object() : file);
  if (!tower.contains("model_type")) tower["model_type"] = "clip_vision_model";
  if (tower.at("model_type") == "siglip_vision_model") tower["vision_use_head"] = false;
  return tower;
}

// generate() ends at the ids of generation_config.json where there is one.
absl::StatusOr<json::value> EndTokens(const json::object& text, const std::string& folder) {
  const auto generation = ReadJsonObject(folder + "/generation_config.json");
  if (!generation.ok() && !absl::IsNotFound(generation.status())) return generation.status();
  if (generation.ok() && generation->contains("eos_token_id")) {
    return generation->at("eos_token_id");
  }
  const json::value* own = text.if_contains("eos_token_id");
  return own == nullptr ? json::value() : *own;
}

// The ids at which answers end, the end of a turn of ChatML among them.
json::value WithTurnEnd(const json::value& ids, int turn_end) {
  json::array list = ids.is_array() ? ids.get_array() : json::array();
  if (ids.is_int64()) list.push_back(ids);
  if (turn_end >= 0 && std::find(list.begin(), list.end(), json::value(turn_end)) == list.end()) {
    list.push_back(turn_end);
  }
  if (list.empty()) return nullptr;
  return list.size() == 1 ? list.front() : json::value(list);
}

absl::StatusOr<model::TextConfig> ReadLanguageConfig(const json::object& file,
                                                     const std::string& path) {
  JsonReader reader(path, file);
  const std::string type = reader.String("model_type", "");
  model::TextConfig text = model::ReadTextConfig(reader, type);
  model::OnlyAbsent(reader, model::kQuantizationKey);
  RETURN_IF_ERROR(reader.status());
  return text;
}

// What a picture may be resized to, in tiles of `side` pixels.
json::array Pinpoints(const std::vector<model::Resolution>& tiles, int side) {
  json::array pinpoints;
  for (const model::Resolution& at : tiles) {
    pinpoints.push_back(json::array{at.height * side, at.width * side});
  }
  return pinpoints;
}

// Class, name and tiles of the family.
json::object FamilyKeys(model::Architecture architecture, int side) {
  if (architecture == model::Architecture::kLlavaNext) {
    return {{"architectures", {"LlavaNextForConditionalGeneration"}},
            {"model_type", "llava_next"},
            {"image_grid_pinpoints", Pinpoints({{1, 2}, {2, 1}, {2, 2}, {3, 1}, {1, 3}}, side)}};
  }
  if (architecture == model::Architecture::kOnevision) {
    constexpr int kMostTiles = 6;  // along one side
    std::vector<model::Resolution> tiles;
    for (int h = 1; h <= kMostTiles; ++h) {
      for (int w = 1; w <= kMostTiles; ++w) tiles.push_back({h, w});
    }
    return {{"architectures", {"LlavaOnevisionForConditionalGeneration"}},
            {"model_type", "llava_onevision"},
            {"vision_aspect_ratio", "anyres_max_9"},
            {"image_grid_pinpoints", Pinpoints(tiles, side)}};
  }
  return {{"architectures", {"LlavaForConditionalGeneration"}}, {"model_type", "llava"}};
}

bool Drops(const PartsOptions& options, const json::object& tower) {
  const bool siglip = tower.at("model_type") == "siglip_vision_model";
  const auto otherwise =
      siglip ? model::SelectStrategy::kKeepClassToken : model::SelectStrategy::kDropClassToken;
  return options.select.value_or(otherwise) == model::SelectStrategy::kDropClassToken;
}

}  // namespace

absl::StatusOr<PartsConfig> JoinConfigs(const PartsOptions& options,
                                        const VocabularyPlan& vocabulary) {
  const std::string language_file = options.language_model + "/config.json";
  ASSIGN_OR_RETURN(const json::object language, ReadJsonObject(language_file));
  ASSIGN_OR_RETURN(const model::TextConfig own, ReadLanguageConfig(language, language_file));
  const std::string tower_file = options.vision_tower + "/config.json";
  ASSIGN_OR_RETURN(const json::object tower_json, ReadJsonObject(tower_file));
  ASSIGN_OR_RETURN(json::object tower, TowerObject(tower_json, tower_file));
  ASSIGN_OR_RETURN(const model::VisionConfig vision,
                   model::ParseTowerConfig(json::serialize(tower_json), tower_file));
  PartsConfig parts;
  parts.language_rows = own.vocab_size;
  JsonReader reader(language_file, language);
  parts.deviation = reader.Double("initializer_range", 0.02, 0.0, 1e3);
  RETURN_IF_ERROR(reader.status());
  json::object text = WithoutFileKeys(language);
  if (vocabulary.tokens > own.vocab_size) text["vocab_size"] = PaddedRows(vocabulary.tokens);
  text["pad_token_id"] = vocabulary.pad_id;
  ASSIGN_OR_RETURN(const json::value ends, EndTokens(language, options.language_model));
  text["eos_token_id"] = WithTurnEnd(ends, vocabulary.turn_end_id);
  json::object whole = FamilyKeys(options.architecture, vision.image_size);
  whole["image_token_index"] = vocabulary.image_id;
  whole["pad_token_id"] = vocabulary.pad_id;
  whole["projector_hidden_act"] = "gelu";
  whole["multimodal_projector_bias"] = true;
  whole["tie_word_embeddings"] = own.tie_embeddings;
  whole["vision_feature_layer"] = options.feature_layer;
  whole["vision_feature_select_strategy"] = Drops(options, tower) ? "default" : "full";
  whole["text_config"] = std::move(text);
  whole["vision_config"] = std::move(tower);
  if (options.linear_projector) whole["mm_projector_type"] = "linear";
  for (const char* key : {"torch_dtype", "dtype"}) {
    if (language.contains(key)) whole[key] = language.at(key);
  }
  const absl::StatusOr<model::LlavaConfig> config = model::ParseConfig(json::serialize(whole), "");
  if (!config.ok()) {
    return Annotate(config.status(),
                    absl::StrCat(options.language_model, " with ", options.vision_tower));
  }
  parts.config = *config;
  parts.config.vision_tower_dir = options.vision_tower;
  whole["image_seq_length"] = parts.config.tile_tokens();
  parts.json = json::serialize(whole) + "\n";
  return parts;
}

}  // namespace llava::training
