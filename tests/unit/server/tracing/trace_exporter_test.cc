#include "server/tracing/trace_exporter.h"

#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <prometheus/text_serializer.h>

#include <map>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "base/mutex.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/exposition.h"

namespace llava::tracing {
namespace {

namespace otlp = opentelemetry::proto::collector::trace::v1;

class Collector final : public otlp::TraceService::Service {
 public:
  Collector() {
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port_);
    builder.RegisterService(this);
    server_ = builder.BuildAndStart();
  }
  ~Collector() override { server_->Shutdown(); }

  grpc::Status Export(grpc::ServerContext*, const otlp::ExportTraceServiceRequest* request,
                      otlp::ExportTraceServiceResponse* response) override {
    MutexLock lock(&mutex_);
    if (refuses_) return {grpc::UNAVAILABLE, "not now"};
    if (rejects_) response->mutable_partial_success()->set_rejected_spans(1);
    for (const otlp::ResourceSpans& resource : request->resource_spans()) {
      service_ = resource.resource().attributes(0).value().string_value();
      for (const otlp::Span& span : resource.scope_spans(0).spans()) spans_.push_back(span);
    }
    return grpc::Status::OK;
  }

  std::string address() const { return absl::StrCat("127.0.0.1:", port_); }
  std::vector<otlp::Span> spans() {
    MutexLock lock(&mutex_);
    return spans_;
  }
  std::string service() {
    MutexLock lock(&mutex_);
    return service_;
  }
  void Refuse() {
    MutexLock lock(&mutex_);
    refuses_ = true;
  }
  void Reject() {
    MutexLock lock(&mutex_);
    rejects_ = true;
  }

 private:
  Mutex mutex_;
  bool refuses_ ABSL_GUARDED_BY(mutex_) = false;
  bool rejects_ ABSL_GUARDED_BY(mutex_) = false;
  std::string service_ ABSL_GUARDED_BY(mutex_);
  std::vector<otlp::Span> spans_ ABSL_GUARDED_BY(mutex_);
  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;
};

Trace Example() {
  Trace trace;
  trace.context = *ParseTraceparent("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
  trace.name = "chat";
  trace.end_unix_millis = 10'000;
  trace.total = std::chrono::milliseconds(1500);
  trace.phases = {{"prepare", {}, std::chrono::milliseconds(100)},
                  {"queue", std::chrono::milliseconds(100), std::chrono::milliseconds(100)},
                  {"prefill", std::chrono::milliseconds(100), std::chrono::milliseconds(600)}};
  trace.texts = {{"llava.version", "v1"}};
  trace.numbers = {{"llava.images", 2}};
  return trace;
}

std::string Text(const std::string& bytes) {
  return absl::BytesToHexString(absl::string_view(bytes.data(), bytes.size()));
}

class TraceExporterTest : public ::testing::Test {
 protected:
  double Count(const std::string& result) {
    const auto samples =
        llava::testing::Samples(prometheus::TextSerializer().Serialize(registry_.Collect()));
    return samples.at("llava_traces_total{result=\"" + result + "\"}");
  }

  prometheus::Registry registry_;
};

TEST_F(TraceExporterTest, ARequestIsASpanWithItsPhasesBelow) {
  Collector collector;
  {
    TraceExporter(collector.address(), "1.2.3", &registry_).Add(Example());
  }
  const auto spans = collector.spans();
  ASSERT_EQ(spans.size(), 3u);  // the queue took no time
  EXPECT_EQ(collector.service(), "llavad");
  const otlp::Span& request = spans[0];
  EXPECT_EQ(Text(request.trace_id()), "0af7651916cd43dd8448eb211c80319c");
  EXPECT_EQ(Text(request.parent_span_id()), "b7ad6b7169203331");
  EXPECT_EQ(request.span_id().size(), 8u);
  EXPECT_EQ(request.kind(), otlp::Span::KIND_SERVER);
  EXPECT_EQ(request.start_time_unix_nano(), 8'500'000'000u);
  EXPECT_EQ(request.end_time_unix_nano(), 10'000'000'000u);
  EXPECT_EQ(request.attributes(0).key(), "llava.version");
  EXPECT_EQ(request.attributes(0).value().string_value(), "v1");
  EXPECT_EQ(request.attributes(1).value().int_value(), 2);
  EXPECT_EQ(request.status().code(), otlp::Status::CODE_UNSET);
  for (const otlp::Span& phase : {spans[1], spans[2]}) {
    EXPECT_EQ(phase.trace_id(), request.trace_id());
    EXPECT_EQ(phase.parent_span_id(), request.span_id());
    EXPECT_NE(phase.span_id(), request.span_id());
  }
  EXPECT_EQ(spans[1].name(), "prepare");
  EXPECT_EQ(spans[2].name(), "prefill");
  EXPECT_EQ(spans[2].start_time_unix_nano(), 8'600'000'000u);
  EXPECT_EQ(spans[2].end_time_unix_nano(), 9'100'000'000u);
  EXPECT_EQ(Count("exported"), 1);
}

TEST_F(TraceExporterTest, AnErrorIsSaidAndATraceThatBeginsHereHasNoParent) {
  Collector collector;
  Trace trace = Example();
  trace.context = NewTrace();
  trace.error = "the engine failed";
  {
    TraceExporter(collector.address(), "1", &registry_).Add(trace);
  }
  const otlp::Span request = collector.spans().at(0);
  EXPECT_EQ(request.parent_span_id(), "");
  EXPECT_EQ(request.status().code(), otlp::Status::CODE_ERROR);
  EXPECT_EQ(request.status().message(), "the engine failed");
}

TEST_F(TraceExporterTest, AtTheEndEverythingThatIsQueuedIsSent) {
  Collector collector;
  {
    TraceExporter exporter(collector.address(), "1", &registry_);
    for (int i = 0; i < 1000; ++i) exporter.Add(Example());
  }
  EXPECT_EQ(collector.spans().size(), 3000u);
  EXPECT_EQ(Count("exported"), 1000);
}

TEST_F(TraceExporterTest, ACollectorThatIsAwayOrRefusesCostsNothing) {
  {
    TraceExporter nobody("127.0.0.1:1", "1", &registry_);
    for (int i = 0; i < 10'000; ++i) nobody.Add(Example());
  }
  EXPECT_GT(Count("dropped"), 0);
  EXPECT_GT(Count("failed"), 0);
  EXPECT_EQ(Count("exported"), 0);
  Collector collector;
  collector.Refuse();
  const double before = Count("failed");
  {
    TraceExporter(collector.address(), "1", &registry_).Add(Example());
  }
  EXPECT_EQ(Count("failed"), before + 1);
}

TEST_F(TraceExporterTest, WhatTheCollectorRejectsCountsAsFailed) {
  Collector collector;
  collector.Reject();
  {
    TraceExporter(collector.address(), "1", &registry_).Add(Example());
  }
  EXPECT_EQ(Count("failed"), 1);
}

}  // namespace
}  // namespace llava::tracing
