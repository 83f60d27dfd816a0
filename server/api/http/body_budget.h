// The memory that the bodies of requests hold, charged as they arrive: what a client announces and
// does not send costs nothing.
#ifndef LLAVA_SERVER_API_HTTP_BODY_BUDGET_H_
#define LLAVA_SERVER_API_HTTP_BODY_BUDGET_H_

#include <cstdint>
#include <map>
#include <string>
#include <utility>

#include "base/mutex.h"

namespace llava::api {

// Whose body it is.
struct BodyOwner {
  std::string token;    // its name; empty without tokens
  std::string address;  // of rpc::ClientNetwork
};

// Thread-safe.
// Invariant: nobody holds more than what is left for all others. So one owner alone may hold half
// of the total, two that both want all of it a third each, and whoever comes next finds room. An
// owner is a token; without tokens, an address. Of what its token may hold, an address may hold
// half, so that one stuck machine does not stop all others of its token.
class BodyBudget {
 public:
  explicit BodyBudget(std::int64_t total) : total_(total) {}

  // False, and nothing is charged, when that were more than the owner's share.
  bool Charge(const BodyOwner& owner, std::int64_t bytes);

  // REQUIRES: the owner holds so much.
  void Release(const BodyOwner& owner, std::int64_t bytes);

  std::int64_t held() const;

 private:
  const std::int64_t total_;
  mutable Mutex mutex_;
  std::int64_t held_ ABSL_GUARDED_BY(mutex_) = 0;
  std::map<std::string, std::int64_t> of_tokens_ ABSL_GUARDED_BY(mutex_);
  // By token and address.
  std::map<std::pair<std::string, std::string>, std::int64_t> of_addresses_ ABSL_GUARDED_BY(mutex_);
};

// What one body holds of a budget; given back when it is destroyed. Movable; one thread at a time.
class BodyCharge {
 public:
  BodyCharge() = default;  // of no budget: everything is granted
  // `budget` outlives the charge.
  BodyCharge(BodyBudget* budget, BodyOwner owner) : budget_(budget), owner_(std::move(owner)) {}
  BodyCharge(BodyCharge&& other) noexcept { *this = std::move(other); }
  BodyCharge& operator=(BodyCharge&& other) noexcept;
  ~BodyCharge() { Release(); }

  // For a body that has `bytes` now. False when that is more than the owner's share.
  bool GrowTo(std::int64_t bytes);

  void Release();

 private:
  BodyBudget* budget_ = nullptr;
  BodyOwner owner_;
  std::int64_t bytes_ = 0;
};

}  // namespace llava::api

#endif  // LLAVA_SERVER_API_HTTP_BODY_BUDGET_H_
