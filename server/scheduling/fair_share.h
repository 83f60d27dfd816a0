// Who has had how much: a counter of weighted tokens for each tenant, so that the one who has had
// least goes first. (Virtual token counter: Sheng et al., "Fairness in Serving Large Language
// Models", 2024, section 4.1: a tenant that comes back is lifted to the least served active one,
// or, when nobody is active, to the one who left last.)
#ifndef LLAVA_SERVER_SCHEDULING_FAIR_SHARE_H_
#define LLAVA_SERVER_SCHEDULING_FAIR_SHARE_H_

#include <cstdint>
#include <map>
#include <string>

namespace llava::scheduling {

struct Tenant {
  std::int64_t counter = 0;  // weighted tokens, or what else is shared
  int requests = 0;          // accepted and not ended; active when above 0
};

// Not thread-safe. Pointers stay valid while the tenant is active.
class FairShare {
 public:
  // One more request of the tenant.
  Tenant* Enter(const std::string& name);

  // One less. Idle tenants keep their counter, up to kMaxTenants of them.
  void Leave(const std::string& name);

  const std::map<std::string, Tenant>& tenants() const { return tenants_; }

 private:
  void ForgetOneIdle();

  std::map<std::string, Tenant> tenants_;
  int active_ = 0;
  std::int64_t last_left_ = 0;  // counter of the tenant after whom nobody was active
};

}  // namespace llava::scheduling

#endif  // LLAVA_SERVER_SCHEDULING_FAIR_SHARE_H_
