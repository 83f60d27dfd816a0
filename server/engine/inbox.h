// What other threads tell the engine between two steps. New requests are bounded by the capacity;
// cancels and resumes are never lost and bounded by the live streams, because each stream sends one
// cancel and one resume for each pause.
#ifndef LLAVA_SERVER_ENGINE_INBOX_H_
#define LLAVA_SERVER_ENGINE_INBOX_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "base/clock.h"
#include "base/digest.h"
#include "base/mutex.h"
#include "server/engine/admission_gate.h"
#include "server/engine/executor.h"
#include "server/engine/text_decoder.h"
#include "server/engine/token_stream.h"
#include "server/scheduling/request.h"

namespace llava::engine {

using Done = std::function<void(absl::Status)>;

// A request on its way to the engine thread.
struct Submitted {
  std::unique_ptr<scheduling::Request> request;
  AdmissionTicket ticket;
  TextDecoderFactory make_decoder;
  TokenSink sink;
  std::int64_t load = 0;  // its tokens, for Engine::load
};

// `steps`: begun when it was asked for.
struct Cancelled {
  scheduling::RequestId id;
  std::uint64_t steps = 0;
};

struct Messages {
  std::vector<std::pair<std::shared_ptr<const LoadedModel>, Done>> add_versions;
  std::vector<Submitted> submitted;
  std::vector<scheduling::RequestId> resumed;
  std::vector<Cancelled> cancelled;
  std::vector<std::pair<Digest, Done>> remove_versions;
  bool closed = false;

  bool empty() const;
};

// Thread-safe.
class Inbox final : public StreamControl {
 public:
  explicit Inbox(std::size_t capacity) : capacity_(capacity) {}

  // Moves from `submitted`; false, with it untouched, when the inbox is full or closed.
  bool TrySubmit(Submitted& submitted);
  void Cancel(scheduling::RequestId id) override;
  void Resume(scheduling::RequestId id) override;
  // UNAVAILABLE, told to `done` at once, when closed.
  void AddVersion(std::shared_ptr<const LoadedModel> model, Done done);
  void RemoveVersion(const Digest& version, Done done);

  // No new requests; the engine ends the others.
  void Close();

  // The engine begins a step: what is cancelled from here on is stamped with it.
  void StepBegins();

  // All messages since the last call.
  Messages TakeAll();

  // Waits for a message or Close(), or until `deadline` when there is one.
  void Wait(std::optional<TimePoint> deadline);

 private:
  const std::size_t capacity_;
  Mutex mutex_;
  CondVar changed_;
  Messages messages_ ABSL_GUARDED_BY(mutex_);
  std::uint64_t steps_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace llava::engine

#endif  // LLAVA_SERVER_ENGINE_INBOX_H_
