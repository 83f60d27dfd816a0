// Which trace a request belongs to: W3C Trace Context, level 1, of which `traceparent` is read.
#ifndef LLAVA_SERVER_TRACING_TRACE_CONTEXT_H_
#define LLAVA_SERVER_TRACING_TRACE_CONTEXT_H_

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace llava::tracing {

using TraceId = std::array<std::uint8_t, 16>;
using SpanId = std::array<std::uint8_t, 8>;

struct TraceContext {
  TraceId trace_id{};
  std::optional<SpanId> parent;  // the caller's span; none where the trace begins here
  bool sampled = true;           // whether the caller's spans are recorded
};

// "00-<32 hex>-<16 hex>-<2 hex>". Nothing when it is malformed or all zero, as the recommendation
// wants it: the trace then begins here. Later versions are read as far as this one is known.
std::optional<TraceContext> ParseTraceparent(std::string_view header);

// A trace that begins here.
TraceContext NewTrace();

SpanId NewSpanId();

std::string Hex(const TraceId& id);  // 32 lower-case digits

}  // namespace llava::tracing

#endif  // LLAVA_SERVER_TRACING_TRACE_CONTEXT_H_
