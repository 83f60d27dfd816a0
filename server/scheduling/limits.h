// The bounds of scheduling, and of what may be accepted at a time. A configuration may choose less,
// never more; Validate says which field is wrong.
//
// Bounds that belong to a format stand beside what reads it: headers and bytes read ahead in
// api/http/session.cc, parts of a form in api/openai/multipart.cc, the depth of JSON in
// api/openai/request.cc, waiting loads and remembered events in server/registry, series of tenants
// in observe/metrics.h. What an operator chooses (bodies, images, connections) is in server/config.
#ifndef LLAVA_SERVER_SCHEDULING_LIMITS_H_
#define LLAVA_SERVER_SCHEDULING_LIMITS_H_

#include <cstddef>
#include <cstdint>

#include "absl/status/status.h"
#include "base/attention_limits.h"
#include "base/clock.h"

namespace llava::scheduling {

// These keep counts within 32 bits and tables within memory; no model or device comes near them.
inline constexpr int kMaxBlocks = 1 << 24;         // KV blocks of one device
inline constexpr int kMaxBatchTokens = 1 << 16;    // tokens of one step
inline constexpr int kMaxRunning = 4096;           // sequences that hold KV blocks
inline constexpr int kMaxContextTokens = 1 << 20;  // prompt and answer of one sequence
inline constexpr int kMaxChoices = 16;             // n of one request
inline constexpr int kMaxImagesPerRequest = 64;    // images of one request
inline constexpr int kMaxImagesPerStep = 64;       // encoder budget of one step
inline constexpr int kMaxRequests = 1 << 16;       // accepted and not yet ended
inline constexpr int kMaxTenants = 4096;           // with a remembered token counter
inline constexpr int kMaxVersions = 8;             // model versions loaded at once
inline constexpr int kMaxStreamTokens = 4096;      // buffered for a slow reader
inline constexpr int kPriorities = 3;
inline constexpr int kMaxUnfinishedImages = 3;  // half encoded; as many as there are priorities
inline constexpr int kMaxEncoderParts = 1024;   // that a step can cut the vision tower into
inline constexpr int kMaxDraftTokens = kKvBlockTokens - 1;  // of a sequence in one step

static_assert(kMaxRunning <= kMaxBatchTokens, "all decodes fit into one step");
static_assert(kMaxContextTokens / kKvBlockTokens <= kMaxBlocks, "one sequence fits into the pool");

// How one engine schedules. Constant while it runs.
struct SchedulerOptions {
  int num_blocks = 0;           // KV blocks of kKvBlockTokens; from the byte budget
  int max_batch_tokens = 512;   // rows of one step
  int max_running = 64;         // sequences holding blocks; at most max_batch_tokens
  int max_images_per_step = 1;  // encoder budget; tiles, but a picture of more goes alone
  int max_context_tokens = 4096;
  // What a step may take while somebody reads (step_clock.h); 0: any time.
  Duration max_step_time{};
  int encoder_parts = 1;  // that the executor cuts the vision tower into
  std::int64_t feature_cache_bytes = std::int64_t{256} << 20;
  std::int64_t feature_bytes_per_token = 0;  // hidden size x element size
  bool prefix_cache = true;
  // Of a sequence in a step, at most (drafts.h). They stay in the block of the token before them.
  int draft_tokens = 0;

  // A waiting request rises one priority class each time this passes: nobody with a low priority
  // waits behind a crowd for much longer than a person does.
  Duration aging = std::chrono::seconds(15);
  // A request without a deadline is ordered as if it had this one after its arrival.
  Duration patience = std::chrono::seconds(60);
  // Weighted tokens (the weights below) that a tenant may be ahead of the least served waiting
  // tenant of its class before it has to wait: a few requests, so that prefix hits and batches are
  // not torn apart by tenants that take turns. The weights are about what the work takes: an output
  // token is a step of its own.
  std::int64_t fair_share_slack = 8192;
  int prompt_token_weight = 1;
  int image_token_weight = 2;  // the encoder comes on top of the prefill
  int output_token_weight = 4;
};

// INVALID_ARGUMENT naming the field, its value and what was expected.
absl::Status Validate(const SchedulerOptions& options);

// What may be accepted and not yet ended.
struct AdmissionBounds {
  std::int64_t requests = 0;
  std::int64_t tokens = 0;  // prompt tokens plus n x max_tokens
  std::int64_t bytes = 0;   // of the request as received, then of its images as prepared
  std::int64_t pixels = 0;  // width x height from the image headers, before decoding

  bool operator==(const AdmissionBounds&) const = default;
};

struct AdmissionOptions {
  AdmissionBounds total{256, 1 << 20, std::int64_t{512} << 20, std::int64_t{400} * 1000 * 1000};
  AdmissionBounds per_tenant{256, 1 << 20, std::int64_t{512} << 20,
                             std::int64_t{400} * 1000 * 1000};
};

// INVALID_ARGUMENT naming the field, its value and what was expected.
absl::Status Validate(const AdmissionOptions& options);

}  // namespace llava::scheduling

#endif  // LLAVA_SERVER_SCHEDULING_LIMITS_H_
