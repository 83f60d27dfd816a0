#include "server/observe/metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <prometheus/text_serializer.h>

#include <set>

#include "base/utf8_stream.h"
#include "server/observe/process_metrics.h"
#include "tests/support/exposition.h"

namespace llava::observe {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

std::string Scrape(const prometheus::Collectable& source) {
  return prometheus::TextSerializer().Serialize(source.Collect());
}

TEST(MetricsTest, TheExpositionIsWellFormed) {
  prometheus::Registry registry;
  Metrics metrics(&registry);
  metrics.SetBuildInfo("1.2.3", "0123456789ab");
  metrics.SetModelInfo("llava", "0123", "bfloat16", "cpu");
  metrics.CountRequest("grpc", "OK", "stop");
  metrics.CountRejection("queue_full");
  metrics.inter_token_seconds.Observe(0.02);
  metrics.CountTenantTokens("a \"strange\"\ntenant\\", 10, 5);
  const std::string text = Scrape(registry);
  EXPECT_THAT(testing::ExpositionProblems(text), IsEmpty());
  EXPECT_THAT(text, HasSubstr("llava_requests_total{"));
  EXPECT_THAT(text, HasSubstr("llava_build_info{commit=\"0123456789ab\",version=\"1.2.3\"} 1"));
  EXPECT_THAT(text, HasSubstr("llava_inter_token_seconds_bucket{le=\"0.02\"} 1"));
}

TEST(MetricsTest, TheNumberOfTenantLabelsIsBounded) {
  prometheus::Registry registry;
  Metrics metrics(&registry);
  for (int i = 0; i < 3 * kMaxTenantLabels; ++i) {
    metrics.CountTenantTokens("tenant" + std::to_string(i), 1, 2);
  }
  metrics.CountTenantTokens("tenant0", 1, 2);
  std::set<std::string> tenants;
  double others = 0;
  for (const auto& family : registry.Collect()) {
    if (family.name != "llava_tenant_tokens_total") continue;
    for (const auto& metric : family.metric) {
      for (const auto& label : metric.label) {
        if (label.name != "tenant") continue;
        tenants.insert(label.value);
        if (label.value == "other") others += metric.counter.value;
      }
    }
  }
  EXPECT_EQ(tenants.size(), static_cast<std::size_t>(kMaxTenantLabels) + 1);
  EXPECT_EQ(others, 3.0 * 2 * kMaxTenantLabels);
}

TEST(MetricsTest, TheNameOfATenantIsText) {
  prometheus::Registry registry;
  Metrics metrics(&registry);
  metrics.CountTenantTokens("a\xff", 1, 2);
  metrics.CountTenantTokens("a\xfe", 3, 4);  // looks the same
  const std::string text = Scrape(registry);
  EXPECT_TRUE(IsValidUtf8(text));
  EXPECT_THAT(text,
              HasSubstr("llava_tenant_tokens_total{kind=\"prompt\",tenant=\"a\xEF\xBF\xBD\"} 4"));
  EXPECT_THAT(
      text, HasSubstr("llava_tenant_tokens_total{kind=\"generated\",tenant=\"a\xEF\xBF\xBD\"} 6"));
}

TEST(MetricsTest, EachMetricIsThereFromTheStart) {
  prometheus::Registry registry;
  const Metrics metrics(&registry);
  std::set<std::string> names;
  for (const auto& family : registry.Collect()) {
    EXPECT_FALSE(family.help.empty()) << family.name;
    names.insert(family.name);
  }
  for (const char* name : {"llava_prepare_seconds",
                           "llava_decode_image_seconds",
                           "llava_queue_seconds",
                           "llava_encode_seconds",
                           "llava_prefill_seconds",
                           "llava_decode_seconds",
                           "llava_time_to_first_token_seconds",
                           "llava_inter_token_seconds",
                           "llava_request_seconds",
                           "llava_request_prompt_tokens",
                           "llava_request_generated_tokens",
                           "llava_request_images",
                           "llava_prompt_tokens_total",
                           "llava_image_tokens_total",
                           "llava_cached_tokens_total",
                           "llava_generated_tokens_total",
                           "llava_step_seconds",
                           "llava_step_schedule_seconds",
                           "llava_step_tokens",
                           "llava_step_sequences",
                           "llava_cancel_steps",
                           "llava_failed_steps_total",
                           "llava_requests_preparing",
                           "llava_ready"}) {
    EXPECT_TRUE(names.contains(name)) << name;
  }
}

TEST(MetricsTest, RequestsAndRejectionsAreCountedByTheirLabels) {
  prometheus::Registry registry;
  Metrics metrics(&registry);
  metrics.CountRequest("http", "OK", "stop");
  metrics.CountRequest("http", "OK", "stop");
  metrics.CountRequest("http", "CANCELLED", "cancelled");
  metrics.CountRejection("deadline");
  const std::string text = Scrape(registry);
  EXPECT_THAT(text, HasSubstr("{protocol=\"http\",reason=\"stop\",status=\"OK\"} 2"));
  EXPECT_THAT(text, HasSubstr("{protocol=\"http\",reason=\"cancelled\",status=\"CANCELLED\"} 1"));
  EXPECT_THAT(text, HasSubstr("llava_rejections_total{reason=\"deadline\"} 1"));
}

TEST(MetricsTest, TheLastBucketOfASizeIsItsLargest) {
  prometheus::Registry registry;
  Metrics metrics(&registry);
  metrics.step_sequences.Observe(4096);
  metrics.step_sequences.Observe(4097);
  const std::string text = Scrape(registry);
  EXPECT_THAT(text, HasSubstr("llava_step_sequences_bucket{le=\"4096\"} 1"));
  EXPECT_THAT(text, HasSubstr("llava_step_sequences_bucket{le=\"+Inf\"} 2"));
}

TEST(MetricsTest, ANewLiveModelTakesThePlaceOfTheOld) {
  prometheus::Registry registry;
  Metrics metrics(&registry);
  metrics.SetModelInfo("llava", "old", "float32", "cpu");
  metrics.SetModelInfo("llava", "new", "float32", "cpu");
  EXPECT_THAT(Scrape(registry), HasSubstr("version=\"new\""));
  EXPECT_THAT(Scrape(registry), Not(HasSubstr("version=\"old\"")));
}

TEST(MetricsTest, TheProcessIsMeasured) {
  const std::string text = Scrape(ProcessMetrics());
  EXPECT_THAT(testing::ExpositionProblems(text), IsEmpty());
  for (const char* name : {"process_cpu_seconds_total", "process_resident_memory_bytes",
                           "process_open_fds", "process_start_time_seconds"}) {
    EXPECT_THAT(text, HasSubstr(std::string("\n") + name + " ")) << name;
  }
}

TEST(ExpositionTest, FindsWhatIsWrong) {
  using testing::ExpositionProblems;
  EXPECT_THAT(ExpositionProblems("a_total 1\n"), Not(IsEmpty()));  // neither HELP nor TYPE
  const std::string head = "# HELP a_total x\n# TYPE a_total counter\n";
  EXPECT_THAT(ExpositionProblems(head + "a_total 1\n"), IsEmpty());
  EXPECT_THAT(ExpositionProblems(head + "a_total one\n"), Not(IsEmpty()));
  EXPECT_THAT(ExpositionProblems(head + "a_total{b=\"c} 1\n"), Not(IsEmpty()));
  EXPECT_THAT(ExpositionProblems(head + "a_total 1\na_total 1\n"), Not(IsEmpty()));
  EXPECT_THAT(ExpositionProblems("# HELP a x\n# TYPE a counter\na 1\n"), Not(IsEmpty()));
  const std::string histogram = "# HELP h x\n# TYPE h histogram\n";
  EXPECT_THAT(ExpositionProblems(histogram + "h_bucket{le=\"1\"} 2\nh_bucket{le=\"+Inf\"} 1\n"
                                             "h_sum 1\nh_count 1\n"),
              Not(IsEmpty()));
}

}  // namespace
}  // namespace llava::observe
