#include "server/tracing/trace_exporter.h"

#include <grpc/support/time.h>
#include <grpcpp/client_context.h>
#include <grpcpp/create_channel.h>

#include <algorithm>
#include <chrono>

namespace llava::tracing {
namespace {

namespace otlp = opentelemetry::proto::collector::trace::v1;

constexpr std::size_t kQueuedTraces = 4096;
constexpr std::size_t kTracesOfACall = 256;
constexpr int kCallSeconds = 2;

template <typename Bytes>
std::string BytesOf(const Bytes& id) {
  return {id.begin(), id.end()};
}

void AddText(const std::string& key, const std::string& value,
             google::protobuf::RepeatedPtrField<otlp::KeyValue>* attributes) {
  otlp::KeyValue* attribute = attributes->Add();
  attribute->set_key(key);
  attribute->mutable_value()->set_string_value(value);
}

void FillSpans(const Trace& trace, otlp::ScopeSpans* scope) {
  const std::string trace_id = BytesOf(trace.context.trace_id);
  const std::int64_t begin = trace.end_unix_millis * 1'000'000 - trace.total.count();
  const auto at = [begin](Duration after) {
    return static_cast<std::uint64_t>(begin + after.count());
  };
  otlp::Span* request = scope->add_spans();
  request->set_trace_id(trace_id);
  request->set_span_id(BytesOf(NewSpanId()));
  if (trace.context.parent) request->set_parent_span_id(BytesOf(*trace.context.parent));
  request->set_name(trace.name);
  request->set_kind(otlp::Span::KIND_SERVER);
  request->set_start_time_unix_nano(at({}));
  request->set_end_time_unix_nano(at(trace.total));
  for (const auto& [key, value] : trace.texts) AddText(key, value, request->mutable_attributes());
  for (const auto& [key, value] : trace.numbers) {
    otlp::KeyValue* attribute = request->add_attributes();
    attribute->set_key(key);
    attribute->mutable_value()->set_int_value(value);
  }
  if (!trace.error.empty()) {
    request->mutable_status()->set_code(otlp::Status::CODE_ERROR);
    request->mutable_status()->set_message(trace.error);
  }
  const std::string parent = request->span_id();
  for (const Trace::Phase& phase : trace.phases) {
    if (phase.end <= phase.begin) continue;
    otlp::Span* span = scope->add_spans();
    span->set_trace_id(trace_id);
    span->set_span_id(BytesOf(NewSpanId()));
    span->set_parent_span_id(parent);
    span->set_name(phase.name);
    span->set_kind(otlp::Span::KIND_INTERNAL);
    span->set_start_time_unix_nano(at(phase.begin));
    span->set_end_time_unix_nano(at(phase.end));
  }
}

}  // namespace

TraceExporter::TraceExporter(const std::string& endpoint, const std::string& version,
                             prometheus::Registry* registry)
    : version_(version),
      stub_(otlp::TraceService::NewStub(
          grpc::CreateChannel(endpoint, grpc::InsecureChannelCredentials()))),
      traces_(prometheus::BuildCounter()
                  .Name("llava_traces_total")
                  .Help("Traces of requests: exported, dropped because the queue was full, or "
                        "failed because the collector did not take them.")
                  .Register(*registry)),
      exported_(traces_.Add({{"result", "exported"}})),
      dropped_(traces_.Add({{"result", "dropped"}})),
      failed_(traces_.Add({{"result", "failed"}})),
      queue_(kQueuedTraces),
      thread_([this] { Run(); }) {}

TraceExporter::~TraceExporter() {
  ends_ = true;
  queue_.Close();
}

void TraceExporter::Add(Trace trace) {
  if (!queue_.TryPush(std::move(trace))) dropped_.Increment();
}

void TraceExporter::Run() {
  while (std::optional<Trace> first = queue_.Pop()) {
    std::vector<Trace> traces;
    traces.push_back(*std::move(first));
    while (traces.size() < kTracesOfACall) {
      std::optional<Trace> next = queue_.TryPop();
      if (!next) break;
      traces.push_back(*std::move(next));
    }
    if (!Send(traces) && ends_) return;
  }
}

bool TraceExporter::Send(const std::vector<Trace>& traces) {
  otlp::ExportTraceServiceRequest request;
  otlp::ResourceSpans* resource = request.add_resource_spans();
  AddText("service.name", "llavad", resource->mutable_resource()->mutable_attributes());
  AddText("service.version", version_, resource->mutable_resource()->mutable_attributes());
  otlp::ScopeSpans* scope = resource->add_scope_spans();
  scope->mutable_scope()->set_name("llavad");
  for (const Trace& trace : traces) FillSpans(trace, scope);
  grpc::ClientContext context;
  context.set_deadline(gpr_time_from_seconds(kCallSeconds, GPR_TIMESPAN));
  otlp::ExportTraceServiceResponse response;
  const grpc::Status status = stub_->Export(&context, request, &response);
  const bool taken = status.ok() && response.partial_success().rejected_spans() == 0;
  (taken ? exported_ : failed_).Increment(static_cast<double>(traces.size()));
  return taken;
}

}  // namespace llava::tracing
