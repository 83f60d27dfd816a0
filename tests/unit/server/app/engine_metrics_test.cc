#include "server/app/engine_metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <prometheus/text_serializer.h>

#include <string>
#include <vector>

namespace llava::server {
namespace {

using engine::EngineStats;
using std::chrono::milliseconds;
using ::testing::HasSubstr;

class EngineMetricsTest : public ::testing::Test {
 protected:
  // The lines of a scrape.
  std::string Scrape() const {
    return "\n" + prometheus::TextSerializer().Serialize(registry_.Collect());
  }
  void Expect(const std::string& series, const std::string& value) const {
    EXPECT_THAT(Scrape(), HasSubstr("\n" + series + " " + value + "\n"));
  }

  static EngineStats Stats(int factor) {
    EngineStats stats;
    stats.scheduler.running = 1 * factor;
    stats.scheduler.waiting = 2 * factor;
    stats.scheduler.paused = 3 * factor;
    stats.scheduler.blocks_total = 100 * factor;
    stats.scheduler.blocks_used = 10 * factor;
    stats.scheduler.blocks_cached = 20 * factor;
    stats.scheduler.feature_bytes = 4096 * factor;
    scheduling::PlannerCounters& planner = stats.scheduler.planner;
    planner.preemptions = 4u * static_cast<unsigned>(factor);
    planner.prompt_tokens = 500u * static_cast<unsigned>(factor);
    planner.cached_prompt_tokens = 60u * static_cast<unsigned>(factor);
    planner.drafted_tokens = 8u * static_cast<unsigned>(factor);
    planner.true_drafts = 3u * static_cast<unsigned>(factor);
    planner.images_needed = 9u * static_cast<unsigned>(factor);
    planner.images_encoded = 2u * static_cast<unsigned>(factor);
    stats.scheduler.unfinished_images = factor;
    stats.graphs = {.held = 5 * factor,
                    .bytes = 1000 * factor,
                    .captures = 7u * static_cast<unsigned>(factor),
                    .replays = 90u * static_cast<unsigned>(factor),
                    .failures = 1u * static_cast<unsigned>(factor)};
    return stats;
  }

  prometheus::Registry registry_;
  observe::Metrics metrics_{&registry_};
  EngineMetrics engines_{&metrics_, &registry_};
};

TEST_F(EngineMetricsTest, EverythingIsThereBeforeThereIsAnEngine) {
  engines_.Refresh({});
  Expect("llava_requests_running", "0");
  Expect("llava_kv_blocks{state=\"free\"}", "0");
  Expect("llava_kv_cache_usage_ratio", "0");
  Expect("llava_preemptions_total", "0");
  Expect("llava_image_cache_requests_total{result=\"hit\"}", "0");
}

TEST_F(EngineMetricsTest, TheSumOverAllEngines) {
  engines_.Refresh(std::vector{Stats(1), Stats(2)});
  Expect("llava_requests_running", "3");
  Expect("llava_requests_waiting", "6");
  Expect("llava_requests_paused", "9");
  Expect("llava_kv_blocks{state=\"used\"}", "30");
  Expect("llava_kv_blocks{state=\"cached\"}", "60");
  Expect("llava_kv_blocks{state=\"free\"}", "210");
  Expect("llava_kv_cache_usage_ratio", "0.1");
  Expect("llava_image_cache_bytes", "12288");
  Expect("llava_images_half_encoded", "3");
  Expect("llava_preemptions_total", "12");
  Expect("llava_prefix_cache_queried_tokens_total", "1500");
  Expect("llava_prefix_cache_hit_tokens_total", "180");
  Expect("llava_drafted_tokens_total", "24");
  Expect("llava_true_drafts_total", "9");
  Expect("llava_image_cache_requests_total{result=\"hit\"}", "21");
  Expect("llava_image_cache_requests_total{result=\"miss\"}", "6");
  Expect("llava_cuda_graphs", "15");
  Expect("llava_cuda_graph_bytes", "3000");
  Expect("llava_cuda_graph_events_total{event=\"capture\"}", "21");
  Expect("llava_cuda_graph_events_total{event=\"replay\"}", "270");
  Expect("llava_cuda_graph_events_total{event=\"failure\"}", "3");
}

TEST_F(EngineMetricsTest, CountersGrowAndGaugesFollow) {
  engines_.Refresh(std::vector{Stats(1)});
  engines_.Refresh(std::vector{Stats(3)});
  engines_.Refresh(std::vector{Stats(3)});
  Expect("llava_preemptions_total", "12");
  Expect("llava_requests_running", "3");
  EngineStats idle = Stats(3);
  idle.scheduler.running = 0;
  engines_.Refresh(std::vector{idle});
  Expect("llava_requests_running", "0");
}

// Engines are made anew when a version replaces all others: they count from 0.
TEST_F(EngineMetricsTest, NewEnginesAddToWhatTheOldOnesCounted) {
  engines_.Refresh(std::vector{Stats(3)});
  engines_.Refresh(std::vector{Stats(1)});
  Expect("llava_preemptions_total", "16");
  engines_.Refresh(std::vector{Stats(2)});
  Expect("llava_preemptions_total", "20");
}

TEST_F(EngineMetricsTest, AStepIsMeasuredWhole) {
  engine::StepReport report;
  report.tokens = 40;
  report.sequences = 3;
  report.schedule = milliseconds(1);
  report.encode = milliseconds(20);
  report.forward = milliseconds(300);
  engines_.OnStep(report);
  Expect("llava_step_seconds_sum", "0.321");
  Expect("llava_step_schedule_seconds_sum", "0.001");
  Expect("llava_step_tokens_sum", "40");
  Expect("llava_step_sequences_sum", "3");
  Expect("llava_failed_steps_total", "0");
  report.status = absl::InternalError("x");
  engines_.OnStep(report);
  Expect("llava_failed_steps_total", "1");
}

TEST_F(EngineMetricsTest, TokensAreTimed) {
  engines_.OnFirstToken(milliseconds(250));
  engines_.OnNextToken(milliseconds(50));
  engines_.OnNextToken(milliseconds(50));
  engines_.OnCancelled(1);
  Expect("llava_time_to_first_token_seconds_sum", "0.25");
  Expect("llava_inter_token_seconds_sum", "0.1");
  Expect("llava_inter_token_seconds_count", "2");
  Expect("llava_cancel_steps_sum", "1");
}

TEST_F(EngineMetricsTest, AnEndAddsWhatTheRequestUsed) {
  scheduling::Request request;
  scheduling::Usage usage;
  usage.prompt_tokens = 30;
  usage.image_tokens = 20;
  usage.cached_tokens = 16;
  usage.generated_tokens = 5;
  usage.queue = milliseconds(500);
  usage.encode = milliseconds(40);
  usage.prefill = milliseconds(250);
  usage.decode = milliseconds(125);
  engines_.OnEnd(request, absl::OkStatus(), usage, milliseconds(900));
  Expect("llava_prompt_tokens_total", "30");
  Expect("llava_image_tokens_total", "20");
  Expect("llava_cached_tokens_total", "16");
  Expect("llava_generated_tokens_total", "5");
  Expect("llava_queue_seconds_sum", "0.5");
  Expect("llava_prefill_seconds_sum", "0.25");
  Expect("llava_decode_seconds_sum", "0.125");
  Expect("llava_encode_seconds_count", "0");  // it had no image
  request.images.emplace_back();
  engines_.OnEnd(request, absl::OkStatus(), usage, milliseconds(900));
  Expect("llava_encode_seconds_sum", "0.04");
  Expect("llava_prompt_tokens_total", "60");
}

}  // namespace
}  // namespace llava::server
