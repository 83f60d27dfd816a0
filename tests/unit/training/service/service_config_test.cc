#include "training/service/service_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "tests/support/temp_dir.h"

namespace llava::training {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

class ServiceConfigTest : public ::testing::Test {
 protected:
  // A configuration with one trigger, which has these keys too.
  absl::StatusOr<ServiceConfig> Read(const std::string& more) {
    std::ofstream(dir_.path() + "/serve.yaml")
        << "folder: jobs\ntriggers:\n"
        << "  - {name: nightly, watch: shards, recipe: r.yaml" << more << "}\n";
    return ReadServiceConfig(dir_.path() + "/serve.yaml");
  }
  std::string Mistake(const std::string& more) {
    return std::string(Read(more).status().message());
  }

  test::TempDir dir_;
};

TEST_F(ServiceConfigTest, ATriggerHasATimeAndPatience) {
  const auto config = Read(
      ", cron: '0 2 * * *', time_zone: Europe/Berlin, min_new_rows: 500, retries: 3, backoff: 30m,"
      " deadline: 5h");
  ASSERT_TRUE(config.ok()) << config.status();
  const TriggerOptions& trigger = config->triggers.at(0);
  EXPECT_EQ(trigger.schedule->Next(0), 3'600'000);  // Berlin was an hour ahead
  EXPECT_EQ(trigger.min_new_rows, 500);
  EXPECT_EQ(trigger.retries, 3);
  EXPECT_EQ(trigger.backoff_ms, 30 * 60'000);
  EXPECT_EQ(trigger.deadline_ms, 5 * 3'600'000);
  EXPECT_EQ(trigger.watch, dir_.path() + "/shards");
  EXPECT_EQ(trigger.scratch, dir_.path() + "/jobs");
}

TEST_F(ServiceConfigTest, ATriggerWithoutATimeLooksAlways) {
  const auto config = Read("");
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_FALSE(config->triggers.at(0).schedule.has_value());
  EXPECT_EQ(config->triggers.at(0).min_new_rows, 0);
  EXPECT_EQ(config->triggers.at(0).deadline_ms, 0);
}

TEST_F(ServiceConfigTest, ATriggerHasAPipelineAndAWebhook) {
  std::ofstream(dir_.path() + "/plan.yaml") << "output: generated\nname: n\n";
  const auto config = Read(
      ", pipeline: {generate: plan.yaml, if_generate_fails: train, images: p, max_bad_share: 0.1,"
      " judge: [rows, --data, /d], gate_optional: true, mix: {new: 0.75, old: 0.25},"
      " server: {address: 'llavad:50051', ca: ca.pem, token_file: /t, wait: 90m}},"
      " webhook: {url: 'https://example.com/x', token_file: secret}");
  ASSERT_TRUE(config.ok()) << config.status();
  const PipelineOptions& pipeline = config->pipelines.at("nightly");
  EXPECT_EQ(pipeline.generate, dir_.path() + "/plan.yaml");
  EXPECT_TRUE(pipeline.train_without_generated);
  EXPECT_EQ(pipeline.images, dir_.path() + "/p");
  EXPECT_EQ(pipeline.judged.size(), 3u);
  EXPECT_TRUE(pipeline.gate_optional);
  EXPECT_EQ(pipeline.server.address, "llavad:50051");
  EXPECT_EQ(pipeline.server.ca, dir_.path() + "/ca.pem");
  EXPECT_EQ(pipeline.server.token_file, "/t");
  EXPECT_EQ(pipeline.server.wait_seconds, 90 * 60);
  EXPECT_EQ(config->triggers[0].mix.old, 0.25);
  EXPECT_TRUE(config->triggers[0].one_at_a_time);
  EXPECT_FALSE(config->triggers[0].always);  // without a schedule, shards make the nights
  EXPECT_EQ(config->webhooks.at("nightly").url, "https://example.com/x");
  EXPECT_EQ(config->webhooks.at("nightly").token_file, dir_.path() + "/secret");
}

TEST_F(ServiceConfigTest, BadValuesAreRefusedByName) {
  EXPECT_THAT(
      Mistake(", pipeline: {mix: {new: 0.5, old: 0.6}}"),
      HasSubstr("triggers[0].pipeline.mix.new: is 0.5 and old is 0.6, expected two shares"));
  EXPECT_THAT(Mistake(", pipeline: {if_generate_fails: weep}"), HasSubstr("if_generate_fails: is"));
  EXPECT_THAT(Mistake(", pipeline: {max_bad_share: 2}"),
              HasSubstr("max_bad_share: is 2, expected"));
  EXPECT_THAT(Mistake(", pipeline: {generate: none.yaml}"), HasSubstr("none.yaml"));
  std::ofstream(dir_.path() + "/plan.yaml") << "output: elsewhere\n";
  EXPECT_THAT(Mistake(", pipeline: {generate: plan.yaml}"), HasSubstr("is 'elsewhere', expected"));
  EXPECT_THAT(Mistake(", pipeline: {server: {}}"), HasSubstr("server.address: is missing"));
  EXPECT_THAT(Mistake(", pipeline: {server: {address: ''}}"), HasSubstr("expected HOST:PORT"));
  EXPECT_THAT(Mistake(", pipeline: {server: {address: 'h:1', wait: soon}}"),
              HasSubstr("server.wait: is 'soon', expected a duration"));
  EXPECT_THAT(Mistake(", webhook: {url: 'ftp://x'}"), HasSubstr("webhook.url: expected http"));
  EXPECT_THAT(Mistake(", cron: '0 2 * *'"),
              AllOf(HasSubstr("serve.yaml:3: triggers[0].cron: "), HasSubstr("expected 5")));
  EXPECT_THAT(Mistake(", cron: '0 2 * * *', time_zone: Nowhere"),
              AllOf(HasSubstr("triggers[0].cron: "), HasSubstr("'Nowhere'")));
  EXPECT_THAT(Mistake(", time_zone: UTC"), HasSubstr("time_zone: has no meaning without cron"));
  EXPECT_THAT(Mistake(", min_new_rows: -1"), HasSubstr("min_new_rows: is -1, expected at least 0"));
  EXPECT_THAT(Mistake(", retries: -1"), HasSubstr("retries: is -1, expected at least 0"));
  EXPECT_THAT(Mistake("}\nmax_running: 4294967296\ntls: {certificate: c, key: k"),
              HasSubstr("max_running: is 4294967296, expected at most"));
  for (const char* duration : {"30", "soon", "0s", "-5m", "inf", "9000h"}) {
    EXPECT_THAT(Mistake(std::string(", backoff: ") + duration),
                HasSubstr(std::string("triggers[0].backoff: is '") + duration + "', expected"));
    EXPECT_THAT(Mistake(std::string(", deadline: ") + duration), HasSubstr("deadline: is"));
  }
  EXPECT_THAT(Mistake("}\n  - {name: nightly, watch: w, recipe: r"),
              HasSubstr("triggers[1].name: is 'nightly', as that of another trigger"));
}

}  // namespace
}  // namespace llava::training
