#include "training/data/trainable.h"

#include "absl/strings/str_cat.h"
#include "base/utf8_stream.h"

namespace llava::training {

absl::Status CheckTrainable(const model::LlavaConfig& config, const std::string& folder) {
  const std::string& decoder = config.text.model_type;
  if (decoder == "llama" || decoder == "mistral" || decoder == "qwen2") return absl::OkStatus();
  return absl::UnimplementedError(absl::StrCat(
      folder, ": is a ", AbslView(model::ModelType(config.architecture)), " with a ", decoder,
      " decoder, which is served but not trained; trained are models with a "
      "llama, mistral or qwen2 decoder"));
}

}  // namespace llava::training
