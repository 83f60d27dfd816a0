#include "server/chat/model_choice.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace llava::api {

absl::StatusOr<std::shared_ptr<const registry::ServedModel>> ChooseModel(
    registry::ModelDirectory& models, absl::string_view name, absl::string_view key) {
  const std::size_t at = name.rfind('@');
  if (at == name.npos) return models.Find(name, key);
  const absl::string_view version = name.substr(at + 1);
  for (const auto& model : models.List()) {
    if (model->name == name.substr(0, at) && version.size() >= kMinVersionDigits &&
        absl::StartsWith(model->version, version)) {
      return model;
    }
  }
  return absl::NotFoundError(absl::StrCat("model: ", name, " does not answer now"));
}

}  // namespace llava::api
