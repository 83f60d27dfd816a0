#include "server/observe/vllm_names.h"

#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include "gtest/gtest.h"
#include "server/observe/metrics.h"
#include "tests/support/exposition.h"

namespace llava::observe {
namespace {

TEST(VllmNamesTest, OurValuesUnderTheirNames) {
  prometheus::Registry registry;
  Metrics metrics(&registry);
  metrics.kv_cache_usage.Set(0.25);
  metrics.prompt_tokens.Increment(30);
  metrics.cached_tokens.Increment(12);
  metrics.generated_tokens.Increment(7);
  metrics.time_to_first_token_seconds.Observe(0.04);
  metrics.CountRequest("grpc", "OK", "stop");
  metrics.CountRequest("http", "OK", "stop");
  metrics.CountRequest("http", "OK", "length");
  metrics.CountRequest("http", "INTERNAL", "engine");
  auto families = registry.Collect();
  const std::size_t before = families.size();
  AddVllmNames("llava-1.5", &families);
  const auto samples = testing::Samples(prometheus::TextSerializer().Serialize(families));
  const auto value = [&](const std::string& name) { return samples.at(name); };
  const std::string model = "{model_name=\"llava-1.5\"}";
  EXPECT_EQ(value("vllm:kv_cache_usage_perc" + model), 0.25);
  EXPECT_EQ(value("vllm:prompt_tokens_total" + model), 30);
  EXPECT_EQ(value("vllm:prefix_cache_queries_total" + model), 30);
  EXPECT_EQ(value("vllm:prefix_cache_hits_total" + model), 12);
  EXPECT_EQ(value("vllm:generation_tokens_total" + model), 7);
  EXPECT_EQ(value("vllm:time_to_first_token_seconds_count" + model), 1);
  EXPECT_EQ(value("vllm:request_success_total{model_name=\"llava-1.5\",finished_reason=\"stop\"}"),
            2);
  EXPECT_EQ(
      value("vllm:request_success_total{model_name=\"llava-1.5\",finished_reason=\"length\"}"), 1);
  EXPECT_FALSE(samples.contains(
      "vllm:request_success_total{model_name=\"llava-1.5\",finished_reason=\"engine\"}"));
  // Ours stay as they were.
  EXPECT_EQ(value("llava_kv_cache_usage_ratio"), 0.25);
  EXPECT_GT(families.size(), before);
}

}  // namespace
}  // namespace llava::observe
