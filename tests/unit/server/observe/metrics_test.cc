#include "server/observe/metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <prometheus/text_serializer.h>

#include <set>

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
  metrics.SetBuildInfo("1.2.3");
  metrics.SetModelInfo("llava", "0123", "bfloat16", "cpu");
  metrics.CountRequest("grpc", "OK", "stop");
  metrics.CountRejection("queue_full");
  metrics.inter_token_seconds.Observe(0.02);
  metrics.CountTenantTokens("a \"strange\"\ntenant\\", 10, 5);
  const std::string text = Scrape(registry);
  EXPECT_THAT(testing::ExpositionProblems(text), IsEmpty());
  EXPECT_THAT(text, HasSubstr("llava_requests_total{"));
  EXPECT_THAT(text, HasSubstr("llava_build_info{version=\"1.2.3\"} 1"));
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
