#include "model/checkpoint/weight_names.h"

#include <array>
#include <charconv>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/check.h"
#include "base/utf8_stream.h"

namespace llava::model {
namespace {

bool StartsWith(std::string_view text, std::string_view prefix) {
  return text.substr(0, prefix.size()) == prefix;
}

bool TakePrefix(std::string_view& text, std::string_view prefix) {
  if (!StartsWith(text, prefix)) return false;
  text.remove_prefix(prefix.size());
  return true;
}

// The wrappers in front of a name, in any order, as often as they come.
struct Peeled {
  bool language = false;
  bool vision = false;
  std::string_view rest;
};

Peeled Peel(std::string_view key) {
  Peeled peeled{.rest = key};
  for (;;) {
    if (TakePrefix(peeled.rest, "model.")) continue;
    if (TakePrefix(peeled.rest, "language_model.")) {
      peeled.language = true;
    } else if (TakePrefix(peeled.rest, "vision_tower.") ||
               TakePrefix(peeled.rest, "vision_model.")) {
      peeled.vision = true;
    } else {
      return peeled;
    }
  }
}

bool IsVisionTail(std::string_view rest) {
  constexpr std::array<std::string_view, 5> kAnchors = {
      "embeddings.", "pre_layrnorm.", "encoder.layers.", "post_layernorm.", "head."};
  for (const std::string_view anchor : kAnchors) {
    if (StartsWith(rest, anchor)) return true;
  }
  return false;
}

bool IsLanguageTail(std::string_view rest) {
  return rest == "embed_tokens.weight" || rest == "embed_tokens.weight_scale" ||
         rest == "norm.weight" || StartsWith(rest, "layers.");
}

// "0.weight" of the original nn.Sequential, where activations have the odd numbers, is
// "linear_1.weight"; a projector of one layer has no number.
std::optional<std::string> OriginalProjectorName(std::string_view rest) {
  if (rest == "weight" || rest == "bias") return absl::StrCat("linear_1.", AbslView(rest));
  unsigned index = 0;
  const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), index);
  if (error != std::errc() || index % 2 != 0 || index > 2000) return std::nullopt;
  const std::string_view field(end, static_cast<std::size_t>(rest.data() + rest.size() - end));
  if (field != ".weight" && field != ".bias") return std::nullopt;
  return absl::StrCat("linear_", index / 2 + 1, AbslView(field));
}

std::optional<std::string> ProjectorName(std::string_view rest) {
  if (TakePrefix(rest, "mm_projector.")) {
    const auto name = OriginalProjectorName(rest);
    if (!name.has_value()) return std::nullopt;
    return absl::StrCat(kProjectorPrefix, *name);
  }
  if (StartsWith(rest, kProjectorPrefix)) return std::string(rest);
  return std::nullopt;
}

}  // namespace

bool IsDecoderProduct(std::string_view name) {
  return TakePrefix(name, kLanguagePrefix) && StartsWith(name, "layers.") &&
         absl::EndsWith(AbslView(name), "_proj.weight");
}

bool IsProduct(std::string_view name) {
  if (IsDecoderProduct(name) || name == kLmHeadName) return true;
  if (TakePrefix(name, kLanguagePrefix)) return name == "embed_tokens.weight";
  if (TakePrefix(name, kProjectorPrefix)) {
    return StartsWith(name, "linear_") && absl::EndsWith(AbslView(name), ".weight");
  }
  if (!TakePrefix(name, kVisionPrefix) || !StartsWith(name, "encoder.layers.")) return false;
  return absl::EndsWith(AbslView(name), "_proj.weight") ||
         absl::EndsWith(AbslView(name), ".fc1.weight") ||
         absl::EndsWith(AbslView(name), ".fc2.weight");
}

const char* NameLayoutText(NameLayout layout) {
  switch (layout) {
    case NameLayout::kOriginal:
      return "original LLaVA";
    case NameLayout::kHuggingFace:
      return "Hugging Face";
    case NameLayout::kHuggingFaceInner:
      return "Hugging Face since 4.52, in memory";
    case NameLayout::kTransformers5:
      return "transformers 5, in memory";
    case NameLayout::kMixed:
      return "mixed prefixes";
  }
  LLAVA_CHECK(false);
}

std::optional<std::string> CanonicalName(std::string_view key) {
  const Peeled peeled = Peel(key);
  if (!peeled.vision) {
    if (auto name = ProjectorName(peeled.rest)) return name;
    if (peeled.rest == kImageNewlineName) return std::string(kImageNewlineName);
    if (peeled.rest == "lm_head.weight") return std::string(kLmHeadName);
    if (peeled.rest == "lm_head.weight_scale") return absl::StrCat(kLmHeadName, kScaleSuffix);
    if (IsLanguageTail(peeled.rest)) {
      return absl::StrCat(kLanguagePrefix, AbslView(peeled.rest));
    }
    return std::nullopt;
  }
  if (!IsVisionTail(peeled.rest)) return std::nullopt;
  return absl::StrCat(kVisionPrefix, AbslView(peeled.rest));
}

std::optional<LayerModule> LayerModuleOf(std::string_view module) {
  const auto name = CanonicalName(absl::StrCat(AbslView(module), ".weight"));
  if (!name) return std::nullopt;
  absl::string_view rest = *name;
  if (!absl::ConsumePrefix(&rest, absl::StrCat(kLanguagePrefix, "layers."))) return std::nullopt;
  absl::ConsumeSuffix(&rest, ".weight");
  const std::size_t dot = rest.find('.');
  LayerModule found;
  if (dot == rest.npos || !absl::SimpleAtoi(rest.substr(0, dot), &found.layer)) return std::nullopt;
  if (found.layer < 0) return std::nullopt;
  found.name = std::string(rest.substr(dot + 1));
  return found;
}

std::optional<std::string> CanonicalClipName(std::string_view key) {
  if (StartsWith(key, "text_model.")) return std::nullopt;
  const Peeled peeled = Peel(key);
  if (!IsVisionTail(peeled.rest)) return std::nullopt;
  return absl::StrCat(kVisionPrefix, AbslView(peeled.rest));
}

bool IsStrayBuffer(std::string_view key) {
  return absl::EndsWith(AbslView(key), ".rotary_emb.inv_freq") ||
         absl::EndsWith(AbslView(key), "embeddings.position_ids");
}

std::optional<NameLayout> LayoutOf(std::string_view key) {
  if (StartsWith(key, "language_model.model.")) return NameLayout::kHuggingFace;
  if (StartsWith(key, "model.language_model.layers.")) return std::nullopt;  // inner or 5
  if (StartsWith(key, "model.vision_tower.vision_tower.")) return NameLayout::kOriginal;
  if (StartsWith(key, "model.vision_tower.vision_model.")) return NameLayout::kHuggingFaceInner;
  if (StartsWith(key, "model.vision_tower.")) return NameLayout::kTransformers5;
  if (StartsWith(key, "vision_tower.vision_model.")) return NameLayout::kHuggingFace;
  if (StartsWith(key, "vision_tower.")) return NameLayout::kMixed;
  if (StartsWith(key, "model.mm_projector.")) return NameLayout::kOriginal;
  if (StartsWith(key, "model.layers.")) return NameLayout::kOriginal;
  if (StartsWith(key, "multi_modal_projector.")) return NameLayout::kHuggingFace;
  return std::nullopt;
}

}  // namespace llava::model
