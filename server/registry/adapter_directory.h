// Models and their adapters as requests see them: MODEL:ADAPTER is the version that answers for
// MODEL, with the adapter beside it.
#ifndef LLAVA_SERVER_REGISTRY_ADAPTER_DIRECTORY_H_
#define LLAVA_SERVER_REGISTRY_ADAPTER_DIRECTORY_H_

#include <functional>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/digest.h"
#include "server/registry/adapter_table.h"
#include "server/registry/served_model.h"

namespace llava::registry {

// Thread-safe. What has no colon, or is a model's whole name, is the base's to answer. An adapter
// follows the model to every version with the same products; with a canary that has others, its
// requests go to the live version.
class AdapterDirectory final : public ModelDirectory {
 public:
  // Both outlive the directory.
  AdapterDirectory(ModelDirectory* base, AdapterTable* adapters)
      : base_(base), adapters_(adapters) {}

  // ModelDirectory. Find has the errors of the base's and of AdapterTable::Find, and
  // FAILED_PRECONDITION when the adapter is for a version with other products.
  absl::StatusOr<std::shared_ptr<const ServedModel>> Find(absl::string_view name,
                                                          absl::string_view key) override;
  std::vector<std::shared_ptr<const ServedModel>> List() override;
  bool AfterSwap(std::function<void()> then) override { return base_->AfterSwap(std::move(then)); }
  bool IsJudging() override { return base_->IsJudging() || adapters_->IsJudging(); }
  void Observe(const Digest& version, const Observation& observation) override {
    if (observation.adapter) adapters_->Observe(*observation.adapter, observation);
    base_->Observe(version, observation);
  }

 private:
  ModelDirectory* const base_;
  AdapterTable* const adapters_;
};

}  // namespace llava::registry

#endif  // LLAVA_SERVER_REGISTRY_ADAPTER_DIRECTORY_H_
