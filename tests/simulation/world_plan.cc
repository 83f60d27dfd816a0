#include <algorithm>

#include "absl/strings/str_cat.h"
#include "tests/simulation/world.h"

namespace llava::simulation {
namespace {

int Pick(Rng& rng, int low, int high) { return static_cast<int>(rng.Between(low, high)); }

}  // namespace

WorldPlan WorldPlan::Draw(Rng& rng) {
  WorldPlan plan;
  for (bool* trouble :
       {&plan.images, &plan.cancels, &plan.deadlines, &plan.tenants, &plan.stalls, &plan.shortage,
        &plan.errors, &plan.out_of_memory, &plan.choices, &plan.priorities, &plan.versions,
        &plan.shared_prompts, &plan.sampling, &plan.tiny_device, &plan.stutters, &plan.domains,
        &plan.step_time, &plan.tiles, &plan.drafts}) {
    *trouble = rng.Chance(0.5);
  }
  plan.max_live = Pick(rng, 2, 24);
  plan.arrivals = 0.05 + rng.Uniform() * 0.5;
  plan.max_prompt = Pick(rng, 4, 120);
  plan.max_tokens = Pick(rng, 1, 40);
  scheduling::SchedulerOptions& options = plan.engine.scheduler;
  options.max_batch_tokens = plan.tiny_device ? Pick(rng, 2, 20) : Pick(rng, 16, 128);
  options.max_running = Pick(rng, 1, std::min(24, options.max_batch_tokens));
  options.max_images_per_step = Pick(rng, 1, 3);
  if (plan.step_time) options.max_step_time = std::chrono::microseconds(Pick(rng, 200, 6000));
  options.encoder_parts = Pick(rng, 1, 12);
  options.max_context_tokens = Pick(rng, 24, 200);
  options.num_blocks = plan.shortage ? Pick(rng, 2, 16) : Pick(rng, 64, 256);
  options.feature_bytes_per_token = 2;
  options.feature_cache_bytes = Pick(rng, 40, plan.shortage ? 100 : 1000);
  options.prefix_cache = rng.Chance(0.8);
  if (plan.drafts) options.draft_tokens = Pick(rng, 1, scheduling::kMaxDraftTokens);
  options.aging = std::chrono::milliseconds(Pick(rng, 20, 2000));
  options.patience = std::chrono::milliseconds(Pick(rng, 50, 5000));
  options.fair_share_slack = Pick(rng, 1, 400);
  plan.memory_limit = Pick(rng, 0, options.max_batch_tokens);
  plan.engine.inbox_capacity = Pick(rng, 2, 32);
  plan.engine.stream_tokens = Pick(rng, 1, 16);
  return plan;
}

std::string WorldPlan::ToString() const {
  std::string troubles;
  const std::pair<bool, const char*> all[] = {
      {images, "images"},       {cancels, "cancels"},
      {deadlines, "deadlines"}, {tenants, "tenants"},
      {stalls, "stalls"},       {shortage, "shortage"},
      {errors, "errors"},       {out_of_memory, "out_of_memory"},
      {choices, "choices"},     {priorities, "priorities"},
      {versions, "versions"},   {shared_prompts, "shared_prompts"},
      {sampling, "sampling"},   {tiny_device, "tiny_device"},
      {stutters, "stutters"},   {domains, "domains"},
      {step_time, "step_time"}, {tiles, "tiles"},
      {drafts, "drafts"}};
  for (const auto& [on, name] : all) {
    if (on) absl::StrAppend(&troubles, " ", name);
  }
  const scheduling::SchedulerOptions& o = engine.scheduler;
  return absl::StrCat("blocks ", o.num_blocks, ", batch ", o.max_batch_tokens, ", running ",
                      o.max_running, ", step ", Seconds(o.max_step_time), " s in ", o.encoder_parts,
                      " parts, context ", o.max_context_tokens, ", live ", max_live, ", prompt ",
                      max_prompt, ", answer ", max_tokens, ", stream ", engine.stream_tokens,
                      ", troubles:", troubles);
}

}  // namespace llava::simulation
