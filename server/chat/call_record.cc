#include "server/chat/call_record.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "base/field_error.h"
#include "base/utf8_stream.h"
#include "server/chat/api_error.h"

namespace llava::api {
namespace {

// Of an answer's text, at most so much is logged.
constexpr std::size_t kMaxLoggedBytes = 4096;

const char* ReasonName(scheduling::FinishReason reason) {
  return reason == scheduling::FinishReason::kLength ? "length" : "stop";
}

// The caller's trace; else a new one where traces are collected.
std::optional<tracing::TraceContext> TraceOf(std::string_view traceparent, bool collected) {
  auto context = tracing::ParseTraceparent(traceparent);
  if (!context && collected) context = tracing::NewTrace();
  return context;
}

// By OpenTelemetry's conventions for servers: what a client did wrong is no error of ours.
bool IsError(const absl::Status& status) {
  return status.code() == absl::StatusCode::kInternal ||
         status.code() == absl::StatusCode::kUnknown ||
         status.code() == absl::StatusCode::kUnavailable ||
         status.code() == absl::StatusCode::kDeadlineExceeded;
}

}  // namespace

CallRecord::CallRecord(const Sinks& sinks, std::string protocol, std::string request_id,
                       TimePoint arrival, std::string_view traceparent)
    : sinks_(sinks),
      protocol_(std::move(protocol)),
      request_id_(std::move(request_id)),
      arrival_(arrival),
      trace_(TraceOf(traceparent, sinks.traces != nullptr)) {}

CallRecord::~CallRecord() {
  if (!ended_) End(absl::CancelledError("the client has gone"), {});
  sinks_.in_flight->Leave();
}

void CallRecord::Add(const engine::Delta& delta) {
  if (delta.finish != scheduling::FinishReason::kNone) reason_ = ReasonName(delta.finish);
  if (text_.size() < kMaxLoggedBytes) text_ += delta.text;
  if (turn_ != nullptr) turn_->answer += delta.text;
  watch_.Add(delta);
}

void CallRecord::Watch(const Digest& digest, const std::optional<Digest>& with_adapter,
                       bool has_logprobs) {
  watched_ = digest;
  watched_adapter_ = with_adapter;
  watch_.set_has_logprobs(has_logprobs);
}

// The client's own clock, or gRPC's in the server, may be first: a deadline travels as the time
// that is left, to the millisecond and rounded up by 1 % at most.
bool CallRecord::IsAtDeadline(TimePoint now) const {
  if (!deadline.has_value()) return false;
  return now + (*deadline - arrival_) / 100 + std::chrono::milliseconds(5) >= *deadline;
}

void CallRecord::End(absl::Status status, const scheduling::Usage& usage) {
  ended_ = true;
  const TimePoint now = sinks_.clock->Now();
  if (absl::IsCancelled(status) && IsAtDeadline(now)) {
    status = absl::DeadlineExceededError("the client gave up at its deadline");
  }
  if (turn_ != nullptr && status.ok()) {
    turn_->row.finish = reason_;
    sinks_.recorder->Record(std::move(turn_));
  }
  turn_.reset();
  const Duration total = now - arrival_;
  Count(status, usage, total);
  Log(status, usage, total);
  if (sinks_.traces != nullptr && trace_->sampled) {
    Trace(status, usage, total);
    NoteExemplars(usage, total);
  }
  if (!watched_) return;
  auto observation = watch_.Observe(status, usage);
  if (!observation) return;
  observation->adapter = watched_adapter_;
  sinks_.models->Observe(*watched_, *observation);
}

void CallRecord::Count(const absl::Status& status, const scheduling::Usage& usage, Duration total) {
  observe::Metrics& metrics = *sinks_.metrics;
  metrics.CountRequest(protocol_, absl::StatusCodeToString(status.code()),
                       status.ok() ? reason_ : ReasonOf(status));
  metrics.request_seconds.Observe(Seconds(total));
  if (usage.prompt_tokens == 0) return;
  metrics.request_images.Observe(images);
  metrics.CountTenantTokens(tenant, usage.prompt_tokens, usage.generated_tokens);
  if (!adapter.empty()) {
    metrics.CountAdapterTokens(adapter, usage.prompt_tokens, usage.generated_tokens);
  }
}

void CallRecord::Log(const absl::Status& status, const scheduling::Usage& usage, Duration total) {
  boost::json::object line = {{"request_id", request_id_},
                              {"protocol", protocol_},
                              {"status", absl::StatusCodeToString(status.code())},
                              {"tenant", Utf8Repair(tenant)},
                              {"model", model},
                              {"version", version},
                              {"images", images},
                              {"prompt_tokens", usage.prompt_tokens},
                              {"cached_tokens", usage.cached_tokens},
                              {"generated_tokens", usage.generated_tokens},
                              {"prepare_seconds", Seconds(prepare_time)},
                              {"queue_seconds", Seconds(usage.queue)},
                              {"encode_seconds", Seconds(usage.encode)},
                              {"prefill_seconds", Seconds(usage.prefill)},
                              {"decode_seconds", Seconds(usage.decode)},
                              {"total_seconds", Seconds(total)}};
  if (trace_) line["trace_id"] = tracing::Hex(trace_->trace_id);
  if (status.ok()) {
    line["reason"] = reason_;
    line["answer"] = sinks_.log->Content(text_);
    sinks_.log->Info("request ended", std::move(line));
    return;
  }
  line["message"] = MessageOf(status);
  const bool ours = status.code() == absl::StatusCode::kInternal;
  if (ours) {
    sinks_.log->Error("request failed", std::move(line));
  } else {
    sinks_.log->Info("request ended", std::move(line));
  }
}

// The phases follow each other: Usage counts from the arrival to the first step, from there to the
// first token (its pictures' encoding goes before its prompt), and from there to the end.
void CallRecord::Trace(const absl::Status& status, const scheduling::Usage& usage, Duration total) {
  const Duration prepared = std::min(prepare_time, total);
  const Duration first_step = std::max(prepared, usage.queue);
  const Duration encoded = first_step + usage.encode;
  const Duration first_token = encoded + usage.prefill;
  tracing::Trace trace;
  trace.context = *trace_;
  trace.name = "chat";
  trace.end_unix_millis = sinks_.clock->UnixMillis();
  trace.total = total;
  trace.phases = {{"prepare", {}, prepared},
                  {"queue", prepared, first_step},
                  {"encode", first_step, encoded},
                  {"prefill", encoded, first_token},
                  {"decode", first_token, first_token + usage.decode}};
  trace.texts = {{"llava.request_id", request_id_},
                 {"llava.protocol", protocol_},
                 {"llava.status", absl::StatusCodeToString(status.code())},
                 {"llava.tenant", Utf8Repair(tenant)},
                 {"llava.version", version},
                 {"gen_ai.request.model", Utf8Repair(model)},
                 {"llava.reason", status.ok() ? reason_ : ReasonOf(status)}};
  trace.numbers = {{"gen_ai.usage.input_tokens", usage.prompt_tokens},
                   {"gen_ai.usage.output_tokens", usage.generated_tokens},
                   {"llava.cached_tokens", usage.cached_tokens},
                   {"llava.images", images}};
  if (IsError(status)) trace.error = MessageOf(status);
  sinks_.traces->Add(std::move(trace));
}

void CallRecord::NoteExemplars(const scheduling::Usage& usage, Duration total) {
  observe::Metrics& metrics = *sinks_.metrics;
  const double now = static_cast<double>(sinks_.clock->UnixMillis()) / 1000;
  const std::string trace_id = tracing::Hex(trace_->trace_id);
  metrics.request_exemplars.Note({Seconds(total), trace_id, now});
  if (usage.generated_tokens == 0) return;
  const Duration first_token = usage.queue + usage.encode + usage.prefill;
  metrics.time_to_first_token_exemplars.Note({Seconds(first_token), trace_id, now});
}

}  // namespace llava::api
