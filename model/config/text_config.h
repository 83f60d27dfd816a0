// Reads what config.json says of the language model.
#ifndef LLAVA_MODEL_CONFIG_TEXT_CONFIG_H_
#define LLAVA_MODEL_CONFIG_TEXT_CONFIG_H_

#include <string>
#include <string_view>
#include <vector>

#include "base/json_reader.h"
#include "model/config/config.h"

namespace llava::model {

// A text_config of `model_type`: llama, mistral, qwen2, qwen3 or phi3, the defaults those of its
// class in transformers. Fails for another type, naming those that are supported, and for a setting
// that the decoder does not have.
TextConfig ReadTextConfig(JsonReader reader, std::string model_type);

// The ids of eos_token_id, else `otherwise`. Those beyond the vocabulary, which no model can say,
// are left out.
std::vector<int> ReadEndTokens(JsonReader& reader, std::vector<int> otherwise, int vocab_size);

}  // namespace llava::model

#endif  // LLAVA_MODEL_CONFIG_TEXT_CONFIG_H_
