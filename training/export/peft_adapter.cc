#include "training/export/peft_adapter.h"

#include <algorithm>
#include <boost/json.hpp>
#include <filesystem>
#include <system_error>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "base/durable_file.h"
#include "base/file.h"
#include "base/status_macros.h"
#include "model/checkpoint/weight_names.h"
#include "model/tensors/tensor_files.h"

namespace llava::training {
namespace {

namespace json = boost::json;

// PEFT's wrapper, then the model inside LlavaForConditionalGeneration.
constexpr char kWrapped[] = "base_model.model.model.";

absl::StatusOr<std::string> PeftName(const std::string& name) {
  absl::string_view rest = name;
  if (absl::ConsumePrefix(&rest, model::kLanguagePrefix)) {
    return absl::StrCat(kWrapped, "language_model.", rest);
  }
  if (absl::StartsWith(rest, model::kProjectorPrefix)) return absl::StrCat(kWrapped, rest);
  return absl::InvalidArgumentError(
      absl::StrCat("\"", name, "\" is no weight of the decoder's layers or of the projector"));
}

// The last parts of the targets' names: those of the options, which may mean parts of one matrix,
// and those that there are.
std::vector<std::string> Targets(const PeftAdapter& adapter) {
  std::vector<std::string> targets = adapter.options.targets;
  for (const model::NamedTensor& tensor : adapter.adapters) {
    const std::string layer = tensor.name.substr(0, tensor.name.find(".lora_"));
    std::string target = layer.substr(layer.rfind('.') + 1);
    if (std::find(targets.begin(), targets.end(), target) == targets.end()) {
      targets.push_back(std::move(target));
    }
  }
  return targets;
}

json::object Config(const PeftAdapter& adapter) {
  const LoraOptions& lora = adapter.options;
  json::value saved = nullptr;
  if (!adapter.projector.empty()) saved = json::array{"multi_modal_projector"};
  return {{"peft_type", "LORA"},
          {"task_type", nullptr},
          {"base_model_name_or_path", adapter.base},
          {"inference_mode", true},
          {"r", lora.rank},
          {"lora_alpha", lora.alpha},
          {"lora_dropout", lora.dropout},
          {"target_modules",
           absl::StrCat(".*language_model.*\\.(", absl::StrJoin(Targets(adapter), "|"), ")")},
          {"modules_to_save", std::move(saved)},
          {"bias", "none"},
          {"fan_in_fan_out", false},
          {"init_lora_weights", true},
          {"use_rslora", false},
          {"use_dora", lora.use_dora}};
}

}  // namespace

absl::Status WritePeftAdapter(const PeftAdapter& adapter, const std::string& folder) {
  std::vector<model::NamedTensor> tensors;
  for (const auto* part : {&adapter.adapters, &adapter.projector}) {
    for (const model::NamedTensor& tensor : *part) {
      ASSIGN_OR_RETURN(std::string name, PeftName(tensor.name));
      tensors.push_back({std::move(name), tensor.tensor.detach().contiguous()});
    }
  }
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) return absl::ErrnoToStatus(error.value(), folder);
  const std::string weights = folder + "/adapter_model.safetensors";
  if (IsThere(weights)) {
    return absl::AlreadyExistsError(absl::StrCat(folder, " holds an adapter already"));
  }
  RETURN_IF_ERROR(
      WriteFile(folder + "/adapter_config.json", json::serialize(Config(adapter)) + "\n"));
  RETURN_IF_ERROR(model::SaveTensors(weights, tensors));
  return SyncFolder(folder);
}

}  // namespace llava::training
