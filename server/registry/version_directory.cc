#include "server/registry/version_directory.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/field_error.h"
#include "server/scheduling/admission.h"

namespace llava::registry {
namespace {

// A client that is told to come back sooner than this would only ask again; one that is told a much
// longer time, because one load took so long once, would be away for longer than the swap lasts.
constexpr Duration kShortestRetry = std::chrono::seconds(1);
constexpr Duration kLongestRetry = std::chrono::minutes(1);

}  // namespace

double TrafficBucket(absl::string_view key) {
  const Digest digest = Sha256Of({key.data(), key.size()});
  std::uint64_t bits;
  std::memcpy(&bits, digest.bytes.data(), sizeof(bits));
  return static_cast<double>(bits >> 11) * 0x1.0p-53;
}

VersionDirectory::VersionDirectory(std::string model_name, std::vector<std::string> model_aliases,
                                   const Clock* clock, OnAnswer on_answer)
    : model_name_(std::move(model_name)),
      model_aliases_(std::move(model_aliases)),
      clock_(clock),
      on_answer_(std::move(on_answer)),
      routes_(std::make_shared<const Routes>()) {}

VersionDirectory::Exchanged VersionDirectory::Exchange(Routes routes) {
  const bool is_swap = routes.swap.has_value() && routes.live == nullptr;
  auto fresh = std::make_shared<const Routes>(std::move(routes));
  Exchanged old;
  MutexLock lock(&mutex_);
  old.routes = std::exchange(routes_, std::move(fresh));
  if (!is_swap) old.waiting.swap(after_swap_);
  return old;
}

std::shared_ptr<const Routes> VersionDirectory::routes() const {
  MutexLock lock(&mutex_);
  return routes_;
}

absl::Status VersionDirectory::NoneAnswers(const Routes& routes) const {
  if (!routes.swap) {
    return absl::FailedPreconditionError(
        absl::StrCat("model: no version of ", model_name_, " is live yet"));
  }
  const Duration left = std::clamp(routes.swap->since + routes.swap->expected - clock_->Now(),
                                   kShortestRetry, kLongestRetry);
  return scheduling::WithRetryAfter(absl::UnavailableError(absl::StrCat(
                                        "model: a new version of ", model_name_,
                                        " is being loaded, for about ", Seconds(left), " s more")),
                                    left);
}

absl::StatusOr<std::shared_ptr<const ServedModel>> VersionDirectory::Find(absl::string_view name,
                                                                          absl::string_view key) {
  if (!name.empty() && name != model_name_ && absl::c_count(model_aliases_, name) == 0) {
    const std::string aliases = absl::StrJoin(model_aliases_, " or ");
    return absl::NotFoundError(absl::StrCat("model: ", Shortened(name),
                                            " is not served here, expected ", model_name_,
                                            aliases.empty() ? "" : " or ", aliases));
  }
  const std::shared_ptr<const Routes> now = routes();
  if (now->live == nullptr) return NoneAnswers(*now);
  const bool sees_canary = now->canary != nullptr && TrafficBucket(key) < now->canary_share;
  return sees_canary ? now->canary : now->live;
}

std::vector<std::shared_ptr<const ServedModel>> VersionDirectory::List() {
  const std::shared_ptr<const Routes> now = routes();
  std::vector<std::shared_ptr<const ServedModel>> models;
  for (const auto& model : {now->live, now->canary}) {
    if (model != nullptr) models.push_back(model);
  }
  return models;
}

bool VersionDirectory::AfterSwap(std::function<void()> then) {
  MutexLock lock(&mutex_);
  if (!routes_->swap || routes_->live != nullptr) return false;
  after_swap_.push_back(std::move(then));
  return true;
}

bool VersionDirectory::IsJudging() { return routes()->canary != nullptr; }

void VersionDirectory::Observe(const Digest& version, const Observation& observation) {
  on_answer_(version, observation);
}

}  // namespace llava::registry
