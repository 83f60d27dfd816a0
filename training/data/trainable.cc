#include "training/data/trainable.h"

#include "absl/strings/str_cat.h"
#include "base/utf8_stream.h"

namespace llava::training {

absl::Status CheckTrainable(const model::LlavaConfig& config, const std::string& folder) {
  const std::string& decoder = config.text.model_type;
  for (const char* trained : {"llama", "mistral", "qwen2", "phi3"}) {
    if (decoder == trained) return absl::OkStatus();
  }
  return absl::UnimplementedError(absl::StrCat(
      folder, ": is a ", AbslView(model::ModelType(config.architecture)), " with a ", decoder,
      " decoder, which is served but not trained; trained are models with a "
      "llama, mistral, qwen2 or phi3 decoder"));
}

}  // namespace llava::training
