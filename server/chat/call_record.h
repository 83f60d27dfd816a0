// What is remembered of a call from its arrival to its end, and written down then: once, however it
// ends, into the log and the metrics.
#ifndef LLAVA_SERVER_CHAT_CALL_RECORD_H_
#define LLAVA_SERVER_CHAT_CALL_RECORD_H_

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "base/clock.h"
#include "base/digest.h"
#include "base/gate.h"
#include "server/capture/recorder.h"
#include "server/chat/answer_watch.h"
#include "server/engine/token_stream.h"
#include "server/observe/log.h"
#include "server/observe/metrics.h"
#include "server/registry/served_model.h"
#include "server/scheduling/request.h"
#include "server/tracing/trace_context.h"
#include "server/tracing/trace_exporter.h"

namespace llava::api {

// Where calls are written down. All outlive the records.
struct Sinks {
  observe::Metrics* metrics = nullptr;
  const observe::Log* log = nullptr;
  const Clock* clock = nullptr;
  Gate* in_flight = nullptr;
  registry::ModelDirectory* models = nullptr;
  tracing::TraceExporter* traces = nullptr;  // null: nobody collects them
  capture::Recorder* recorder = nullptr;     // null: nothing is captured
};

// One thread at a time. Holds a place in the gate.
class CallRecord {
 public:
  // REQUIRES: the caller has entered sinks.in_flight for this record.
  // `traceparent`: the header; what is no such header begins a trace here.
  CallRecord(const Sinks& sinks, std::string protocol, std::string request_id, TimePoint arrival,
             std::string_view traceparent);
  ~CallRecord();  // ends it as CANCELLED, unless it has ended
  CallRecord(const CallRecord&) = delete;
  CallRecord& operator=(const CallRecord&) = delete;

  void Add(const engine::Delta& delta);
  // A client that gives up at its deadline has not cancelled: that counts as DEADLINE_EXCEEDED.
  void End(absl::Status status, const scheduling::Usage& usage);

  // The request has gone to an engine, and from here on its end tells something of the version, and
  // of the adapter.
  void Watch(const Digest& digest, const std::optional<Digest>& with_adapter, bool has_logprobs);

  // The turn is captured if it ends well; null: it is not. REQUIRES: there is a recorder.
  void Capture(std::unique_ptr<capture::PendingTurn> turn) { turn_ = std::move(turn); }

  // Filled in as they become known.
  std::string tenant;
  std::string model;
  std::string version;
  std::string adapter;  // empty: none
  std::optional<TimePoint> deadline;
  Duration prepare_time{};
  int images = 0;

 private:
  bool IsAtDeadline(TimePoint now) const;
  void Count(const absl::Status& status, const scheduling::Usage& usage, Duration total);
  void Log(const absl::Status& status, const scheduling::Usage& usage, Duration total);
  void Trace(const absl::Status& status, const scheduling::Usage& usage, Duration total);
  // Of a request whose trace the collector gets.
  void NoteExemplars(const scheduling::Usage& usage, Duration total);

  const Sinks sinks_;
  const std::string protocol_;
  const std::string request_id_;
  const TimePoint arrival_;
  const std::optional<tracing::TraceContext> trace_;
  std::string reason_ = "none";  // how the last choice finished
  std::string text_;             // of the answers, when content is logged
  std::optional<Digest> watched_;
  std::optional<Digest> watched_adapter_;
  AnswerWatch watch_;
  std::unique_ptr<capture::PendingTurn> turn_;
  bool ended_ = false;
};

}  // namespace llava::api

#endif  // LLAVA_SERVER_CHAT_CALL_RECORD_H_
