// What the readers of config.json's parts share: bounds, activations, settings that are known but
// have one supported value only.
#ifndef LLAVA_MODEL_CONFIG_CONFIG_FIELDS_H_
#define LLAVA_MODEL_CONFIG_CONFIG_FIELDS_H_

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "base/json_reader.h"
#include "model/config/config.h"

namespace llava::model {

// Bounds that no sensible model reaches, so that a hostile file cannot ask for absurd memory.
inline constexpr int kMaxVocab = 1 << 20;
inline constexpr int kMaxWidth = 1 << 16;
inline constexpr int kMaxInner = 1 << 18;
inline constexpr int kMaxLayers = 512;
inline constexpr int kMaxHeads = 1024;
inline constexpr int kMaxPositions = 1 << 22;

// JsonReader::Int and IntOrInts as int. REQUIRES: bounds within int.
int IntOf(JsonReader& reader, std::string_view key, int otherwise, int low, int high);
std::vector<int> IntsOf(JsonReader& reader, std::string_view key, std::vector<int> otherwise,
                        int low, int high, std::size_t max_count);

// Fail unless the setting has its one supported value, which is also what a missing one means.
void OnlyFalse(JsonReader& reader, std::string_view key);
void OnlyAbsent(JsonReader& reader, std::string_view key);

// What quantization_config says of how the weights are stored. Fails where a method that is not
// supported made them, and names it.
void ReadQuantization(JsonReader& reader, LlavaConfig& config);

// The activation that the key names; fails where it names none that is supported.
Activation ActivationOf(JsonReader& reader, std::string_view key, std::string otherwise);

}  // namespace llava::model

#endif  // LLAVA_MODEL_CONFIG_CONFIG_FIELDS_H_
