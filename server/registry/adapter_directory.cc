#include "server/registry/adapter_directory.h"

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "model/config/decoder_products.h"
#include "server/registry/processor.h"

namespace llava::registry {
namespace {

using Model = std::shared_ptr<const ServedModel>;

// The version with the adapter; it keeps the version.
Model With(const Model& model, absl::string_view name, const AdapterTable::Serving& serving) {
  auto adapted = std::make_shared<ServedModel>(*model);
  adapted->name = absl::StrCat(model->name, ":", name);
  for (std::string& alias : adapted->aliases) absl::StrAppend(&alias, ":", name);
  adapted->base = model;
  adapted->adapter_name = std::string(name);
  adapted->adapter = serving.loaded->adapter;
  return adapted;
}

absl::Status Follows(const AdapterTable::Serving& serving, const ServedModel& model) {
  return model::CheckSameProducts(serving.text, model.processor->config().text);
}

}  // namespace

absl::StatusOr<Model> AdapterDirectory::Find(absl::string_view name, absl::string_view key) {
  const std::size_t colon = name.rfind(':');
  absl::StatusOr<Model> whole = base_->Find(name, key);
  if (colon == name.npos || !absl::IsNotFound(whole.status())) return whole;
  absl::StatusOr<Model> model = base_->Find(name.substr(0, colon), key);
  if (!model.ok()) return model;
  const absl::string_view adapter = name.substr(colon + 1);
  const auto serving = adapters_->Find(adapter, key);
  if (!serving.ok()) return serving.status();
  const absl::Status follows = Follows(*serving, **model);
  if (follows.ok()) return With(*model, adapter, *serving);
  for (const Model& other : base_->List()) {
    if (Follows(*serving, *other).ok()) return With(other, adapter, *serving);
  }
  return absl::FailedPreconditionError(absl::StrCat("model: ", name, ": ", follows.message(),
                                                    "; expected an adapter that was "
                                                    "loaded for this version"));
}

std::vector<Model> AdapterDirectory::List() {
  std::vector<Model> models = base_->List();
  const std::size_t versions = models.size();
  for (const auto& [name, serving] : adapters_->All()) {
    for (std::size_t i = 0; i < versions; ++i) {
      if (Follows(serving, *models[i]).ok()) models.push_back(With(models[i], name, serving));
    }
  }
  return models;
}

}  // namespace llava::registry
