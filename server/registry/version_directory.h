// What requests see of the registry: which version answers whom. The only part of it that they
// touch; it never waits for a load, a rollback or an engine.
#ifndef LLAVA_SERVER_REGISTRY_VERSION_DIRECTORY_H_
#define LLAVA_SERVER_REGISTRY_VERSION_DIRECTORY_H_

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/mutex.h"
#include "server/registry/served_model.h"

namespace llava::registry {

// Who answers. A value: a flip is the exchange of one for another.
struct Routes {
  // The versions are being swapped: nothing answers, and callers should wait for the new one.
  struct Swap {
    TimePoint since;
    Duration expected{};  // how long it should take from `since`
  };

  std::shared_ptr<const ServedModel> live = nullptr;    // null: nothing answers
  std::shared_ptr<const ServedModel> canary = nullptr;  // null: none; else `live` is not null
  double canary_share = 0;                              // of the conversations, [0, 1]
  std::optional<Swap> swap = std::nullopt;
};

// Where a key stands between 0 and 1, always the same: keys below a canary's share see it.
double TrafficBucket(absl::string_view key);

// Thread-safe.
class VersionDirectory final : public ModelDirectory {
 public:
  using OnAnswer = std::function<void(const Digest&, const Observation&)>;

  // Find knows the model by its name and by each alias. `clock` outlives the directory. `on_answer`
  // is what Observe calls.
  VersionDirectory(std::string model_name, std::vector<std::string> model_aliases,
                   const Clock* clock, OnAnswer on_answer);

  // What goes when routes are exchanged. It must be dropped without any lock held: that may free a
  // version. `waiting` is to be called then: they wait for a swap that has ended.
  struct Exchanged {
    std::shared_ptr<const Routes> routes;
    std::vector<std::function<void()>> waiting;
  };
  [[nodiscard]] Exchanged Exchange(Routes routes);

  // ModelDirectory
  absl::StatusOr<std::shared_ptr<const ServedModel>> Find(absl::string_view name,
                                                          absl::string_view key) override;
  std::vector<std::shared_ptr<const ServedModel>> List() override;
  bool AfterSwap(std::function<void()> then) override;
  bool IsJudging() override;
  void Observe(const Digest& version, const Observation& observation) override;

 private:
  std::shared_ptr<const Routes> routes() const;
  absl::Status NoneAnswers(const Routes& routes) const;

  const std::string model_name_;
  const std::vector<std::string> model_aliases_;
  const Clock* const clock_;
  const OnAnswer on_answer_;

  mutable Mutex mutex_;  // held for the copy or the exchange of a pointer
  std::shared_ptr<const Routes> routes_ ABSL_GUARDED_BY(mutex_);  // never null
  std::vector<std::function<void()>> after_swap_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace llava::registry

#endif  // LLAVA_SERVER_REGISTRY_VERSION_DIRECTORY_H_
