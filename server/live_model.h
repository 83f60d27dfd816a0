// The directory of a daemon that serves one version of one model.
#ifndef LLAVA_SERVER_LIVE_MODEL_H_
#define LLAVA_SERVER_LIVE_MODEL_H_

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/mutex.h"
#include "server/registry/served_model.h"

namespace llava::server {

// Thread-safe. Nothing is live until Publish.
class LiveModel final : public registry::ModelDirectory {
 public:
  explicit LiveModel(std::string name) : name_(std::move(name)) {}

  void Publish(std::shared_ptr<const registry::ServedModel> model);

  absl::StatusOr<std::shared_ptr<const registry::ServedModel>> Find(
      absl::string_view name, absl::string_view tenant) override;
  std::vector<std::shared_ptr<const registry::ServedModel>> List() override;

 private:
  const std::string name_;
  Mutex mutex_;
  std::shared_ptr<const registry::ServedModel> model_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace llava::server

#endif  // LLAVA_SERVER_LIVE_MODEL_H_
