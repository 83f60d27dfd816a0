#include "server/scheduling/fair_share.h"

#include <algorithm>
#include <limits>

#include "base/check.h"
#include "server/scheduling/limits.h"

namespace llava::scheduling {

Tenant* FairShare::Enter(const std::string& name) {
  Tenant& tenant = tenants_[name];
  if (tenant.requests++ > 0) return &tenant;
  std::int64_t least = active_ > 0 ? std::numeric_limits<std::int64_t>::max() : last_left_;
  for (const auto& [other_name, other] : tenants_) {
    if (other.requests > 0 && &other != &tenant) least = std::min(least, other.counter);
  }
  tenant.counter = std::max(tenant.counter, least);
  ++active_;
  if (tenants_.size() > kMaxTenants) ForgetOneIdle();
  return &tenant;
}

void FairShare::Leave(const std::string& name) {
  const auto found = tenants_.find(name);
  LLAVA_CHECK(found != tenants_.end());
  LLAVA_CHECK_GT(found->second.requests, 0);
  if (--found->second.requests == 0 && --active_ == 0) last_left_ = found->second.counter;
  if (tenants_.size() > kMaxTenants) ForgetOneIdle();
}

// The one with the smallest counter: it would be lifted the most anyway.
void FairShare::ForgetOneIdle() {
  auto least = tenants_.end();
  for (auto it = tenants_.begin(); it != tenants_.end(); ++it) {
    if (it->second.requests > 0) continue;
    if (least == tenants_.end() || it->second.counter < least->second.counter) least = it;
  }
  if (least != tenants_.end()) tenants_.erase(least);
}

}  // namespace llava::scheduling
