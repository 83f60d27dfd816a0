// The names of LLaVA's tensors. Checkpoints come in four layouts (the original one, Hugging Face
// before and since 4.52, transformers 5) and some tools mixed their prefixes; inside the program a
// tensor has one name, that of the Hugging Face layout on disk:
//   vision_tower.vision_model.{embeddings,pre_layrnorm,encoder.layers.N,post_layernorm}...
//   multi_modal_projector.{projector_layernorm,linear_{1..depth}}.{weight,bias}
//   image_newline
//   language_model.model.{embed_tokens,layers.N,norm}...   language_model.lm_head.weight
#ifndef LLAVA_MODEL_CHECKPOINT_WEIGHT_NAMES_H_
#define LLAVA_MODEL_CHECKPOINT_WEIGHT_NAMES_H_

#include <optional>
#include <string>
#include <string_view>

namespace llava::model {

inline constexpr char kVisionPrefix[] = "vision_tower.vision_model.";
inline constexpr char kProjectorPrefix[] = "multi_modal_projector.";
inline constexpr char kLanguagePrefix[] = "language_model.model.";
inline constexpr char kImageNewlineName[] = "image_newline";
inline constexpr char kLmHeadPrefix[] = "language_model.lm_head";
inline constexpr char kLmHeadName[] = "language_model.lm_head.weight";

// The scales of a matrix of codes: the matrix's name and this.
inline constexpr char kScaleSuffix[] = "_scale";

// Of adapters in PEFT's layout: their file, and a tensor's name in it, which is the wrapper, a
// module's name in the model, and one of the ends.
inline constexpr char kAdapterFileName[] = "adapter_model.safetensors";
inline constexpr char kPeftWrapper[] = "base_model.model.";
inline constexpr char kLoraA[] = ".lora_A.weight";
inline constexpr char kLoraB[] = ".lora_B.weight";

// A module of one of the decoder's layers.
struct LayerModule {
  int layer = 0;
  std::string name;  // "mlp.up_proj"
};

// By the module's name in any layout: "model.layers.3.mlp.up_proj". Nothing: it is in no layer.
std::optional<LayerModule> LayerModuleOf(std::string_view module);

// Whether a weight, by its name, is multiplied with as a matrix of the decoder's layers; and
// whether it is such a matrix anywhere, or the table of embeddings.
bool IsDecoderProduct(std::string_view name);
bool IsProduct(std::string_view name);

// How a checkpoint spells its names.
enum class NameLayout {
  kOriginal,          // model.layers, model.mm_projector
  kHuggingFace,       // language_model.model.layers: on disk
  kHuggingFaceInner,  // model.language_model.layers, model.vision_tower.vision_model
  kTransformers5,     // as before, without vision_model
  kMixed,             // prefixes of several of them
};
const char* NameLayoutText(NameLayout layout);

// The one name of `key`, or nothing when it is no tensor of LLaVA.
std::optional<std::string> CanonicalName(std::string_view key);

// The same inside the directory of a CLIP model, whose text half has names of its own.
std::optional<std::string> CanonicalClipName(std::string_view key);

// Buffers that old versions stored and everyone recomputes (inv_freq, position_ids).
bool IsStrayBuffer(std::string_view key);

// The layout that `key` alone speaks for, or nothing when several have it.
std::optional<NameLayout> LayoutOf(std::string_view key);

}  // namespace llava::model

#endif  // LLAVA_MODEL_CHECKPOINT_WEIGHT_NAMES_H_
