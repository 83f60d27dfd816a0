#include "server/chat/model_choice.h"

#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/field_error.h"

namespace llava::api {

absl::StatusOr<std::shared_ptr<const registry::ServedModel>> ChooseModel(
    registry::ModelDirectory& models, absl::string_view name, absl::string_view key) {
  const std::size_t at = name.rfind('@');
  if (at == name.npos) return models.Find(name, key);
  const absl::string_view version = name.substr(at + 1);
  for (const auto& model : models.List()) {
    if (model->IsNamed(name.substr(0, at)) && version.size() >= kMinVersionDigits &&
        absl::StartsWith(model->version, version)) {
      return model;
    }
  }
  std::vector<std::string> present;
  for (const auto& model : models.List()) {
    present.push_back(absl::StrCat(model->name, "@", model->version.substr(0, kMinVersionDigits)));
  }
  return absl::NotFoundError(absl::StrCat(
      "model: ", Shortened(name), " does not answer now, expected ",
      present.empty() ? "a version, of which none does" : absl::StrJoin(present, " or ")));
}

}  // namespace llava::api
