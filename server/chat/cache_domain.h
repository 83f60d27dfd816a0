// Who shares what is cached: keys and values of prompts, encoded pictures.
#ifndef LLAVA_SERVER_CHAT_CACHE_DOMAIN_H_
#define LLAVA_SERVER_CHAT_CACHE_DOMAIN_H_

#include "absl/strings/string_view.h"
#include "base/digest.h"

namespace llava::api {

// The domain of requests of `tenant` (empty: of all tenants, who share) that carry `salt` (empty:
// none). Never Digest(), which is the domain of the daemon's own probes.
Digest CacheDomain(absl::string_view tenant, absl::string_view salt);

}  // namespace llava::api

#endif  // LLAVA_SERVER_CHAT_CACHE_DOMAIN_H_
