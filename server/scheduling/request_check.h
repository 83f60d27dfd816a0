// Whether a request can ever run with these options.
#ifndef LLAVA_SERVER_SCHEDULING_REQUEST_CHECK_H_
#define LLAVA_SERVER_SCHEDULING_REQUEST_CHECK_H_

#include <string>

#include "absl/status/status.h"
#include "server/scheduling/limits.h"
#include "server/scheduling/request.h"

namespace llava::scheduling {

// Tokens of prompt and answer together: the configured context, or what all KV blocks hold.
int ContextTokens(const SchedulerOptions& options);

// A tenant's name goes into metrics, the log and messages: INVALID_ARGUMENT saying what it is and
// what was expected, unless it is UTF-8 without control characters, of at most kMaxTenantBytes
// bytes.
absl::Status CheckTenant(const std::string& name);

// INVALID_ARGUMENT naming the field, its value and what was expected.
absl::Status CheckRequest(const Request& request, const SchedulerOptions& options);

}  // namespace llava::scheduling

#endif  // LLAVA_SERVER_SCHEDULING_REQUEST_CHECK_H_
