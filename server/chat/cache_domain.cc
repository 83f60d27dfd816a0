#include "server/chat/cache_domain.h"

#include "absl/strings/str_cat.h"

namespace llava::api {

// The length tells where the name ends: no tenant reaches another's domain by a salt.
Digest CacheDomain(absl::string_view tenant, absl::string_view salt) {
  return Sha256Of(absl::StrCat(tenant.size(), ":", tenant, salt));
}

}  // namespace llava::api
