#include "server/chat/call_record.h"

#include <gtest/gtest.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>
#include <spdlog/sinks/ostream_sink.h>

#include <boost/json/parse.hpp>
#include <map>
#include <memory>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "tests/support/exposition.h"

namespace llava::api {
namespace {

class Directory final : public registry::ModelDirectory {
 public:
  absl::StatusOr<std::shared_ptr<const registry::ServedModel>> Find(absl::string_view,
                                                                    absl::string_view) override {
    return absl::NotFoundError("none");
  }
  std::vector<std::shared_ptr<const registry::ServedModel>> List() override { return {}; }
  bool AfterSwap(std::function<void()>) override { return false; }
  bool IsJudging() override { return true; }
  void Observe(const Digest& version, const registry::Observation& observation) override {
    observed.emplace_back(version, observation);
  }

  std::vector<std::pair<Digest, registry::Observation>> observed;
};

class CallRecordTest : public ::testing::Test {
 protected:
  CallRecordTest()
      : metrics_(&registry_),
        log_({.level = "info", .content = true}, &clock_,
             std::make_shared<spdlog::sinks::ostream_sink_mt>(out_)) {}

  std::unique_ptr<CallRecord> Record(const std::string& traceparent = "") {
    EXPECT_TRUE(in_flight_.Enter());
    const Sinks sinks{&metrics_, &log_, &clock_, &in_flight_, &directory_};
    auto record = std::make_unique<CallRecord>(sinks, "http", "id-1", clock_.Now(), traceparent);
    record->tenant = "alice";
    record->model = "m";
    record->version = "v";
    return record;
  }

  static engine::Delta Text(const std::string& text, scheduling::FinishReason finish) {
    engine::Delta delta;
    delta.text = text;
    delta.finish = finish;
    return delta;
  }

  // The lines of the log, parsed.
  std::vector<boost::json::object> Lines() {
    std::vector<boost::json::object> lines;
    std::istringstream in(out_.str());
    for (std::string line; std::getline(in, line);) {
      lines.push_back(boost::json::parse(line).as_object());
    }
    return lines;
  }

  double Sample(const std::string& name) {
    const auto samples =
        testing::Samples(prometheus::TextSerializer().Serialize(registry_.Collect()));
    const auto found = samples.find(name);
    return found == samples.end() ? 0 : found->second;
  }

  ManualClock clock_;
  std::ostringstream out_;
  prometheus::Registry registry_;
  observe::Metrics metrics_;
  const observe::Log log_;
  Gate in_flight_;
  Directory directory_;
};

TEST_F(CallRecordTest, AGoodAnswerIsWrittenDownOnce) {
  {
    const auto record = Record();
    record->images = 2;
    record->prepare_time = std::chrono::milliseconds(250);
    record->Add(Text("Hello ", scheduling::FinishReason::kNone));
    record->Add(Text("there", scheduling::FinishReason::kLength));
    clock_.Advance(std::chrono::seconds(3));
    record->End(absl::OkStatus(), {.prompt_tokens = 7,
                                   .cached_tokens = 4,
                                   .generated_tokens = 5,
                                   .decode = std::chrono::seconds(2)});
  }
  const auto lines = Lines();
  ASSERT_EQ(lines.size(), 1u);
  const boost::json::object& line = lines[0];
  EXPECT_EQ(line.at("level").as_string(), "info");
  EXPECT_EQ(line.at("request_id").as_string(), "id-1");
  EXPECT_EQ(line.at("status").as_string(), "OK");
  EXPECT_EQ(line.at("reason").as_string(), "length");
  EXPECT_EQ(line.at("answer").as_string(), "Hello there");
  EXPECT_EQ(line.at("tenant").as_string(), "alice");
  EXPECT_EQ(line.at("images").as_int64(), 2);
  EXPECT_EQ(line.at("prompt_tokens").as_int64(), 7);
  EXPECT_EQ(line.at("generated_tokens").as_int64(), 5);
  EXPECT_EQ(line.at("prepare_seconds").to_number<double>(), 0.25);
  EXPECT_EQ(line.at("decode_seconds").to_number<double>(), 2);
  EXPECT_EQ(line.at("total_seconds").to_number<double>(), 3);
  EXPECT_EQ(Sample(R"(llava_requests_total{protocol="http",reason="length",status="OK"})"), 1);
  EXPECT_EQ(Sample("llava_request_seconds_sum"), 3);
  EXPECT_EQ(Sample("llava_request_images_sum"), 2);
  EXPECT_EQ(Sample(R"(llava_tenant_tokens_total{kind="prompt",tenant="alice"})"), 7);
  EXPECT_TRUE(in_flight_.CloseAndWait(TimePoint::max()));
}

TEST_F(CallRecordTest, ACallThatIsDroppedWasCancelled) {
  Record().reset();
  const auto lines = Lines();
  ASSERT_EQ(lines.size(), 1u);
  EXPECT_EQ(lines[0].at("status").as_string(), "CANCELLED");
  EXPECT_EQ(lines[0].at("message").as_string(), "the client has gone");
  EXPECT_EQ(
      Sample(R"(llava_requests_total{protocol="http",reason="cancelled",status="CANCELLED"})"), 1);
  EXPECT_TRUE(in_flight_.CloseAndWait(TimePoint::max()));
}

TEST_F(CallRecordTest, AClientThatGivesUpAtItsDeadlineHasNotCancelled) {
  for (const auto left : {std::chrono::milliseconds(0), std::chrono::milliseconds(5000),
                          std::chrono::milliseconds(105), std::chrono::milliseconds(106)}) {
    const auto record = Record();
    record->deadline = clock_.Now() + std::chrono::seconds(10);
    clock_.Advance(std::chrono::milliseconds(10'000) - left);
    record->End(absl::CancelledError("by the reader"), {});
  }
  const auto lines = Lines();
  ASSERT_EQ(lines.size(), 4u);
  EXPECT_EQ(lines[0].at("status").as_string(), "DEADLINE_EXCEEDED");
  EXPECT_EQ(lines[1].at("status").as_string(), "CANCELLED");
  // A hundredth of the time, and 5 ms.
  EXPECT_EQ(lines[2].at("status").as_string(), "DEADLINE_EXCEEDED");
  EXPECT_EQ(lines[3].at("status").as_string(), "CANCELLED");
}

TEST_F(CallRecordTest, OnlyOurOwnFaultsAreErrors) {
  Record()->End(absl::InternalError("a step failed"), {});
  Record()->End(absl::InvalidArgumentError("n: 99"), {});
  const auto lines = Lines();
  ASSERT_EQ(lines.size(), 2u);
  EXPECT_EQ(lines[0].at("level").as_string(), "error");
  EXPECT_EQ(lines[0].at("message").as_string(), "a step failed");
  EXPECT_EQ(lines[1].at("level").as_string(), "info");
  EXPECT_EQ(Sample("llava_request_images_count"), 0);  // nothing was computed
}

TEST_F(CallRecordTest, TheVersionIsJudgedOnlyOnWhatItGot) {
  Record()->End(absl::InternalError("before an engine had it"), {});
  EXPECT_TRUE(directory_.observed.empty());
  const auto record = Record();
  record->Watch(Sha256Of("v1"), Sha256Of("adapter"), /*has_logprobs=*/false);
  record->Add(Text("fine", scheduling::FinishReason::kLength));
  record->End(absl::OkStatus(), {.prompt_tokens = 7, .generated_tokens = 1});
  ASSERT_EQ(directory_.observed.size(), 1u);
  EXPECT_EQ(directory_.observed[0].first, Sha256Of("v1"));
  EXPECT_TRUE(directory_.observed[0].second.endless);
  EXPECT_FALSE(directory_.observed[0].second.failed);
}

TEST_F(CallRecordTest, LinesAreUtf8WhateverATenantIsCalled) {
  const auto record = Record();
  record->tenant = "\xff";
  record->End(absl::InvalidArgumentError("X-Tenant: expected UTF-8"), {});
  EXPECT_EQ(Lines().at(0).at("tenant").as_string(), "\xEF\xBF\xBD");
}

TEST_F(CallRecordTest, OnlyTheBeginningOfALongAnswerIsLogged) {
  const auto record = Record();
  for (int i = 0; i < 100; ++i) {
    record->Add(Text(std::string(1000, 'x'), scheduling::FinishReason::kNone));
  }
  record->End(absl::OkStatus(), {});
  EXPECT_LT(Lines().at(0).at("answer").as_string().size(), 6000u);
}

TEST_F(CallRecordTest, TheLogNamesTheTraceThatACallBelongsTo) {
  Record("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")->End(absl::OkStatus(), {});
  Record("nonsense")->End(absl::OkStatus(), {});
  Record()->End(absl::OkStatus(), {});
  const auto lines = Lines();
  ASSERT_EQ(lines.size(), 3u);
  EXPECT_EQ(lines[0].at("trace_id"), "0af7651916cd43dd8448eb211c80319c");
  EXPECT_FALSE(lines[1].contains("trace_id"));
  EXPECT_FALSE(lines[2].contains("trace_id"));
}

}  // namespace
}  // namespace llava::api
