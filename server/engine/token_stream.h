// An answer on its way out: the engine writes, one reader (an RPC, an HTTP session, a test) reads.
// Bounded: when the reader is slow, the engine pauses that request alone.
//
// TokenSink is the engine's end, TokenStream the reader's. They share one small state, because
// either may go first: the reader by dropping its end (the request is cancelled), the engine by
// ending the answer (the reader still takes what is buffered).
#ifndef LLAVA_SERVER_ENGINE_TOKEN_STREAM_H_
#define LLAVA_SERVER_ENGINE_TOKEN_STREAM_H_

#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "base/digest.h"
#include "server/scheduling/plan.h"
#include "server/scheduling/request.h"

namespace llava::engine {

// More of one choice. A slow reader gets several tokens in one delta.
struct Delta {
  int choice = 0;    // [0, n)
  std::string text;  // valid UTF-8; may lag behind `tokens` (unfinished characters, stop strings)
  std::vector<SampledToken> tokens;
  scheduling::FinishReason finish = scheduling::FinishReason::kNone;  // this choice's last delta
};

// The last event of every stream, exactly once, also of failed and cancelled ones.
//   OK                  every choice has finished
//   CANCELLED           by the reader
//   DEADLINE_EXCEEDED   the request's deadline passed
//   RESOURCE_EXHAUSTED  refused on arrival (with scheduling::RetryAfter), or out of device memory
//   INVALID_ARGUMENT    can never run here (too long for the context or the KV budget)
//   NOT_FOUND           the model version is not loaded (any more)
//   INTERNAL            a step failed; the message says why
//   UNAVAILABLE         the engine stopped
struct End {
  absl::Status status;
  scheduling::Usage usage;
  Digest version;  // of the model that answered
};

using StreamEvent = std::variant<Delta, End>;

// How a stream tells its engine something. Thread-safe; must not block nor call the stream.
class StreamControl {
 public:
  virtual ~StreamControl() = default;
  virtual void Cancel(scheduling::RequestId id) = 0;
  virtual void Resume(scheduling::RequestId id) = 0;  // after a pause there is room again
};

namespace internal {
class StreamState;
}

// The reader's end. Movable; its methods are for one thread at a time. Destroying it cancels the
// request, unless it has ended, and waits for a `when_ready` call that is under way in another
// thread, so that what the callback refers to may be destroyed next.
class TokenStream {
 public:
  TokenStream() = default;  // empty; only assignment and destruction are allowed
  explicit TokenStream(std::shared_ptr<internal::StreamState> state) : state_(std::move(state)) {}
  TokenStream(TokenStream&&) = default;
  TokenStream& operator=(TokenStream&& other);
  ~TokenStream();

  // Waits for the next event; nothing after End.
  std::optional<StreamEvent> Pop();

  // The next event, or nothing now; then `when_ready` is called once, as soon as there is one, from
  // the engine thread (it must not block; it may call TryPop). After End: nothing, never called.
  std::optional<StreamEvent> TryPop(std::function<void()> when_ready);

  // The engine ends the request within one step; the reader gets what is buffered, then End. Any
  // thread, any number of times.
  void Cancel();

  scheduling::RequestId id() const;

 private:
  std::shared_ptr<internal::StreamState> state_;
};

// The engine's end: engine thread only. REQUIRES: PushEnd is the last call, and is called.
class TokenSink {
 public:
  explicit TokenSink(std::shared_ptr<internal::StreamState> state) : state_(std::move(state)) {}

  // False when the buffer is full now: push nothing more until StreamControl::Resume. Each choice
  // may still push what its running step makes.
  bool Push(Delta delta);

  void PushEnd(End end);

 private:
  std::shared_ptr<internal::StreamState> state_;
};

// `capacity_tokens`: buffered tokens at which the writer is told to pause; it is resumed at half of
// that. `control` must live until PushEnd.
std::pair<TokenSink, TokenStream> MakeTokenStream(scheduling::RequestId id,
                                                  std::size_t capacity_tokens,
                                                  StreamControl* control);

}  // namespace llava::engine

#endif  // LLAVA_SERVER_ENGINE_TOKEN_STREAM_H_
