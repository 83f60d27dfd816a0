#include "model/checkpoint/adapter_config.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/json_reader.h"
#include "base/status_macros.h"
#include "base/utf8_stream.h"
#include "boost/json/serialize.hpp"
#include "model/checkpoint/weight_names.h"

namespace llava::model {
namespace {

namespace json = boost::json;

constexpr double kMaxAlpha = 1e6;
constexpr int kLastLayer = 9999;

// Settings that are read below, or that say nothing of what the adapter computes.
constexpr std::array<std::string_view, 26> kKnown = {"peft_type",
                                                     "base_model_name_or_path",
                                                     "target_modules",
                                                     "exclude_modules",
                                                     "r",
                                                     "lora_alpha",
                                                     "use_rslora",
                                                     "use_dora",
                                                     "rank_pattern",
                                                     "alpha_pattern",
                                                     "bias",
                                                     "init_lora_weights",
                                                     "auto_mapping",
                                                     "revision",
                                                     "task_type",
                                                     "inference_mode",
                                                     "lora_dropout",
                                                     "peft_version",
                                                     "megatron_core",
                                                     "qalora_group_size",
                                                     "runtime_config",
                                                     "eva_config",
                                                     "layers_to_transform",
                                                     "layers_pattern",
                                                     "loftq_config",
                                                     "corda_config"};

// What a setting has that is not used: none, false, 0, "" or nothing in it.
bool IsUnset(const json::value& value) {
  switch (value.kind()) {
    case json::kind::null:
      return true;
    case json::kind::bool_:
      return !value.get_bool();
    case json::kind::int64:
      return value.get_int64() == 0;
    case json::kind::string:
      return value.get_string().empty();
    case json::kind::array:
      return value.get_array().empty();
    case json::kind::object:
      return value.get_object().empty();
    default:
      return false;
  }
}

std::optional<std::vector<std::string>> Strings(const json::value& value) {
  if (!value.is_array()) return std::nullopt;
  std::vector<std::string> names;
  for (const json::value& name : value.get_array()) {
    if (!name.is_string()) return std::nullopt;
    names.emplace_back(name.get_string());
  }
  return names;
}

}  // namespace

// Reads the settings into one configuration; the reader keeps the first error.
class AdapterConfigReader {
 public:
  AdapterConfigReader(const std::string& path, const json::object& object)
      : reader_(path, object), object_(object) {}

  absl::StatusOr<AdapterConfig> Read() {
    RETURN_IF_ERROR(CheckSupported());
    config_.base_ = reader_.String("base_model_name_or_path", "");
    config_.rank_ = static_cast<int>(reader_.Int("r", 8, 1, kMaxAdapterRank));
    config_.alpha_ = reader_.Double("lora_alpha", 8, 0, kMaxAlpha);
    config_.rslora_ = reader_.Bool("use_rslora", false);
    config_.dora_ = reader_.Bool("use_dora", false);
    ReadTargets();
    RETURN_IF_ERROR(ReadLayers());
    if (const json::value* excluded = reader_.Find("exclude_modules")) {
      config_.excluded_ = Pattern("exclude_modules", *excluded);
    }
    JsonReader ranks = reader_.Object("rank_pattern");
    ReadByModule("rank_pattern", &config_.rank_pattern_, [&](const std::string& key) {
      return static_cast<int>(ranks.Int(key, 0, 1, kMaxAdapterRank));
    });
    JsonReader alphas = reader_.Object("alpha_pattern");
    ReadByModule("alpha_pattern", &config_.alpha_pattern_,
                 [&](const std::string& key) { return alphas.Double(key, 0, 0, kMaxAlpha); });
    RETURN_IF_ERROR(reader_.status());
    return std::move(config_);
  }

 private:
  absl::Status Unsupported(std::string_view key, const char* expected) {
    return absl::UnimplementedError(absl::StrCat(
        reader_.file(), ": ", AbslView(key), " is ",
        json::serialize(reader_.Find(key) == nullptr ? json::value() : *reader_.Find(key)),
        ", which is not supported; expected ", expected));
  }

  absl::Status CheckSupported() {
    const std::string kind = reader_.String("peft_type", "");
    RETURN_IF_ERROR(reader_.status());
    if (kind != "LORA") return Unsupported("peft_type", "\"LORA\"");
    const std::string bias = reader_.String("bias", "none");
    RETURN_IF_ERROR(reader_.status());
    if (bias != "none") return Unsupported("bias", "\"none\"");
    const json::value* begin = reader_.Find("init_lora_weights");
    // The others begin with parts of the base's weights, which they take away from the base.
    const bool keeps_base = begin == nullptr || begin->is_bool() ||
                            *begin == json::value("gaussian") || *begin == json::value("eva") ||
                            *begin == json::value("orthogonal");
    if (!keeps_base) {
      return Unsupported("init_lora_weights",
                         "true, false, \"gaussian\", \"orthogonal\" or \"eva\", which leave the "
                         "base's weights as they are");
    }
    for (const auto& [key, value] : object_) {
      const bool known =
          std::find(kKnown.begin(), kKnown.end(), std::string_view(key)) != kKnown.end();
      if (!known && !IsUnset(value)) {
        return Unsupported(key, "an adapter of low-rank products and magnitudes alone, without it");
      }
    }
    return absl::OkStatus();
  }

  void ReadTargets() {
    const json::value* targets = reader_.Find("target_modules");
    if (targets == nullptr) {
      return reader_.Fail("target_modules", "a list of modules, an expression or \"all-linear\"");
    }
    config_.all_linear_ = *targets == json::value("all-linear");
    config_.targets_ = Pattern("target_modules", *targets);
    const auto names = Strings(*targets);
    config_.targets_text_ = names                  ? absl::StrJoin(*names, ", ")
                            : targets->is_string() ? std::string(targets->get_string())
                                                   : "";
  }

  // Of the modules in `target_modules` those of these layers alone; an empty list says nothing.
  // What the list of layers is called in the model (`layers_pattern`) is "layers" here.
  absl::Status ReadLayers() {
    const json::value* layers = reader_.Find("layers_to_transform");
    if (layers == nullptr || (layers->is_array() && layers->get_array().empty())) {
      return absl::OkStatus();
    }
    const json::value* pattern = reader_.Find("layers_pattern");
    if (pattern != nullptr && !IsUnset(*pattern) && *pattern != json::value("layers") &&
        *pattern != json::value(json::array{"layers"})) {
      return Unsupported("layers_pattern", "\"layers\"");
    }
    config_.layers_ =
        reader_.IntOrInts("layers_to_transform", {}, 0, kLastLayer, std::size_t{kLastLayer});
    return absl::OkStatus();
  }

  ModulePattern Pattern(std::string_view key, const json::value& value) {
    if (auto names = Strings(value)) return ModulePattern::Names(*std::move(names));
    if (!value.is_string()) {
      reader_.Fail(key, "a list of modules or an expression");
      return {};
    }
    return Expression(key, std::string(value.get_string()));
  }

  ModulePattern Expression(std::string_view key, const std::string& expression) {
    auto pattern = ModulePattern::Expression(expression);
    if (pattern.ok()) return *std::move(pattern);
    reader_.Fail(key, StdView(pattern.status().message()));
    return {};
  }

  // PEFT takes a key as an expression for the end of a module's name.
  template <typename T, typename ReadValue>
  void ReadByModule(const char* name, std::vector<std::pair<ModulePattern, T>>* pattern,
                    const ReadValue& read) {
    const json::value* found = reader_.Find(name);
    if (found == nullptr || !found->is_object()) return;  // Object has said so
    for (const auto& [key, value] : found->get_object()) {
      const std::string module(key);
      pattern->emplace_back(Expression(name, absl::StrCat("(.*\\.)?(", module, ")")), read(module));
    }
  }

  JsonReader reader_;
  const json::object& object_;
  AdapterConfig config_;
};

absl::StatusOr<AdapterConfig> AdapterConfig::Read(const std::string& dir) {
  const std::string path = absl::StrCat(dir, "/", kAdapterConfigName);
  ASSIGN_OR_RETURN(const json::object object, ReadJsonObject(path));
  return AdapterConfigReader(path, object).Read();
}

bool AdapterConfig::Targets(std::string_view module) const {
  if ((!all_linear_ && !targets_.Matches(module)) || excluded_.Matches(module)) return false;
  if (layers_.empty()) return true;
  const std::optional<LayerModule> place = LayerModuleOf(module);
  return place && std::find(layers_.begin(), layers_.end(), place->layer) != layers_.end();
}

int AdapterConfig::RankOf(std::string_view module) const {
  for (const auto& [pattern, rank] : rank_pattern_) {
    if (pattern.Matches(module)) return rank;
  }
  return rank_;
}

double AdapterConfig::ScaleOf(std::string_view module) const {
  double alpha = alpha_;
  for (const auto& [pattern, own] : alpha_pattern_) {
    if (!pattern.Matches(module)) continue;
    alpha = own;
    break;
  }
  const double rank = RankOf(module);
  return alpha / (rslora_ ? std::sqrt(rank) : rank);
}

}  // namespace llava::model
