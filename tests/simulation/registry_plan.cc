#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "tests/simulation/registry_world.h"

namespace llava::simulation {
namespace {

int Pick(Rng& rng, int low, int high) { return static_cast<int>(rng.Between(low, high)); }

registry::RegistryOptions DrawRegistry(Rng& rng) {
  registry::RegistryOptions options;
  options.model_name = "llava";
  options.swap = rng.Chance(0.25);
  options.keep_previous = !options.swap && rng.Chance(0.7);
  options.published = rng.Chance(0.8) ? "root" : "";
  options.canary.traffic = options.swap || rng.Chance(0.2) ? 0 : 0.1 + 0.8 * rng.Uniform();
  options.canary.min_answers = Pick(rng, 2, 6);
  options.canary.enough_answers = Pick(rng, 8, 24);
  options.canary.longest = std::chrono::milliseconds(Pick(rng, 100, 600));
  return options;
}

}  // namespace

RegistryPlan RegistryPlan::Draw(Rng& rng) {
  RegistryPlan plan;
  for (bool* trouble :
       {&plan.failing, &plan.flaky, &plan.worse, &plan.garbled, &plan.slow, &plan.operators,
        &plan.stutters, &plan.cancels, &plan.slow_readers, &plan.errors}) {
    *trouble = rng.Chance(0.5);
  }
  plan.engines = Pick(rng, 1, 3);
  plan.tenants = Pick(rng, 1, 4);
  plan.max_live = Pick(rng, 2, 12);
  plan.arrivals = 0.05 + 0.5 * rng.Uniform();
  plan.publishing = 0.002 + 0.01 * rng.Uniform();
  scheduling::SchedulerOptions& scheduler = plan.engine.scheduler;
  scheduler.max_batch_tokens = Pick(rng, 8, 64);
  scheduler.max_running = Pick(rng, 1, 8);
  scheduler.max_context_tokens = 64;
  scheduler.num_blocks = Pick(rng, 4, 64);
  scheduler.prefix_cache = rng.Chance(0.8);
  plan.engine.inbox_capacity = Pick(rng, 2, 16);
  plan.engine.stream_tokens = Pick(rng, 1, 8);
  plan.registry = DrawRegistry(rng);
  return plan;
}

std::string RegistryPlan::ToString() const {
  std::string troubles;
  const std::pair<bool, const char*> all[] = {
      {failing, "failing"},   {flaky, "flaky"},        {worse, "worse"},
      {garbled, "garbled"},   {slow, "slow"},          {operators, "operators"},
      {stutters, "stutters"}, {cancels, "cancels"},    {slow_readers, "slow_readers"},
      {errors, "errors"},     {registry.swap, "swap"}, {registry.keep_previous, "keep"}};
  for (const auto& [on, name] : all) {
    if (on) absl::StrAppend(&troubles, " ", name);
  }
  return absl::StrCat(engines, " engines, ", tenants, " tenants, at most ", max_live,
                      " calls, canary ", registry.canary.traffic, " for ",
                      Seconds(registry.canary.longest), " s, troubles:", troubles);
}

void RegistryTotals::Add(const RegistryTotals& other) {
  for (const auto& [name, times] : other.count) count[name] += times;
}

}  // namespace llava::simulation
