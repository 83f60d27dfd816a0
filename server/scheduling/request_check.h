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

// What only an engine can decide of a request: whether its prompt, its images and its choices fit.
// Engine::Submit asks once; whoever has the request afterwards may rely on it.
// INVALID_ARGUMENT saying what was expected; FieldOf is "n", or nothing for prompt and images,
// which clients know under names of their own.
// REQUIRES: what a client says is right by itself: n is 1 or more, and
// Validate(sampling) is OK. That was decided where the request came in.
absl::Status CheckRequest(const Request& request, const SchedulerOptions& options);

}  // namespace llava::scheduling

#endif  // LLAVA_SERVER_SCHEDULING_REQUEST_CHECK_H_
