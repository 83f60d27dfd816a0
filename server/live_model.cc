#include "server/live_model.h"

#include "absl/strings/str_cat.h"

namespace llava::server {

using registry::ServedModel;

void LiveModel::Publish(std::shared_ptr<const ServedModel> model) {
  MutexLock lock(&mutex_);
  model_ = std::move(model);
}

absl::StatusOr<std::shared_ptr<const ServedModel>> LiveModel::Find(absl::string_view name,
                                                                   absl::string_view) {
  if (!name.empty() && name != name_) {
    return absl::NotFoundError(
        absl::StrCat("model: ", name, " is not served here, expected ", name_));
  }
  MutexLock lock(&mutex_);
  if (model_ == nullptr) {
    return absl::FailedPreconditionError(
        absl::StrCat("model: no version of ", name_, " is live yet"));
  }
  return model_;
}

std::vector<std::shared_ptr<const ServedModel>> LiveModel::List() {
  MutexLock lock(&mutex_);
  if (model_ == nullptr) return {};
  return {model_};
}

}  // namespace llava::server
