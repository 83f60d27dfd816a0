// Sends spans to an OpenTelemetry collector over gRPC (OTLP), beside the requests and never in
// their way: what does not fit into its queue, or what the collector does not take, is counted and
// gone.
#ifndef LLAVA_SERVER_TRACING_TRACE_EXPORTER_H_
#define LLAVA_SERVER_TRACING_TRACE_EXPORTER_H_

#include <prometheus/counter.h>
#include <prometheus/registry.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/bounded_queue.h"
#include "base/clock.h"
#include "opentelemetry/trace_service.grpc.pb.h"
#include "server/tracing/trace_context.h"

namespace llava::tracing {

// A request with its phases, one after the other. Times are after the request's arrival.
struct Trace {
  struct Phase {
    const char* name;
    Duration begin{};
    Duration end{};
  };
  TraceContext context;
  std::string name;
  std::int64_t end_unix_millis = 0;
  Duration total{};
  std::vector<Phase> phases;                               // those that took no time are left out
  std::vector<std::pair<std::string, std::string>> texts;  // attributes; must be UTF-8
  std::vector<std::pair<std::string, std::int64_t>> numbers;
  std::string error;  // empty: it went well
};

// Thread-safe; has a thread of its own. At its end what is queued is still sent, unless the
// collector does not answer within two seconds.
class TraceExporter {
 public:
  // `endpoint`: HOST:PORT of a collector that takes plain gRPC. Connects when the first span comes.
  TraceExporter(const std::string& endpoint, const std::string& version,
                prometheus::Registry* registry);
  ~TraceExporter();

  // Never blocks.
  void Add(Trace trace);

 private:
  void Run();
  bool Send(const std::vector<Trace>& traces);

  const std::string version_;
  const std::unique_ptr<opentelemetry::proto::collector::trace::v1::TraceService::Stub> stub_;
  prometheus::Family<prometheus::Counter>& traces_;
  prometheus::Counter& exported_;
  prometheus::Counter& dropped_;
  prometheus::Counter& failed_;
  BoundedQueue<Trace> queue_;
  std::atomic<bool> ends_{false};
  std::jthread thread_;
};

}  // namespace llava::tracing

#endif  // LLAVA_SERVER_TRACING_TRACE_EXPORTER_H_
