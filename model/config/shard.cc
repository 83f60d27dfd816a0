#include "model/config/shard.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace llava::model {

absl::Status CheckShards(const TextConfig& text, int size) {
  const std::pair<const char*, int> dealt_out[] = {{"num_attention_heads", text.num_heads},
                                                   {"num_key_value_heads", text.num_kv_heads},
                                                   {"intermediate_size", text.intermediate_size}};
  for (const auto& [name, number] : dealt_out) {
    if (number % size == 0) continue;
    return absl::InvalidArgumentError(absl::StrCat(
        "config.json: ", name, " of the language model is ", number, ", expected a multiple of ",
        size, ", the number of devices that are to share its layers (devices)"));
  }
  return absl::OkStatus();
}

TextConfig ShardOf(TextConfig text, int size) {
  text.num_heads /= size;
  text.num_kv_heads /= size;
  text.intermediate_size /= size;
  return text;
}

}  // namespace llava::model
