#include "server/engine/token_stream.h"

#include <deque>
#include <iterator>
#include <thread>

#include "base/check.h"
#include "base/mutex.h"

namespace llava::engine {
namespace internal {

// Thread-safe. Invariants: nothing is added after End; `control_` is called only before End, under
// the lock, so that the engine may go once it has ended all streams.
class StreamState {
 public:
  StreamState(scheduling::RequestId id, std::size_t capacity, StreamControl* control)
      : id_(id), capacity_(capacity), control_(control) {
    LLAVA_CHECK_GT(capacity, 0u);
  }

  scheduling::RequestId id() const { return id_; }

  bool Push(Delta delta) {
    bool has_room;
    {
      MutexLock lock(&mutex_);
      LLAVA_CHECK(!ended_);
      if (abandoned_) return true;  // cancelled already; nobody will read
      buffered_tokens_ += delta.tokens.size();
      Append(std::move(delta));
      has_room = buffered_tokens_ < capacity_;
      if (!has_room) paused_ = true;
    }
    Notify();
    return has_room;
  }

  void PushEnd(End end) {
    {
      MutexLock lock(&mutex_);
      LLAVA_CHECK(!ended_);
      ended_ = true;
      events_.emplace_back(std::move(end));
    }
    Notify();
  }

  std::optional<StreamEvent> Pop() {
    MutexLock lock(&mutex_);
    while (events_.empty() && !end_taken_) not_empty_.Wait(&mutex_);
    return Take();
  }

  std::optional<StreamEvent> TryPop(std::function<void()> when_ready) {
    MutexLock lock(&mutex_);
    if (events_.empty() && !end_taken_) when_ready_ = std::move(when_ready);
    return Take();
  }

  void Cancel() {
    MutexLock lock(&mutex_);
    CancelOnce();
  }

  void Abandon() {
    MutexLock lock(&mutex_);
    abandoned_ = true;
    when_ready_ = nullptr;
    events_.clear();
    CancelOnce();
    while (calling_ && caller_ != std::this_thread::get_id()) call_done_.Wait(&mutex_);
  }

 private:
  void CancelOnce() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (!ended_ && !cancelled_) control_->Cancel(id_);
    cancelled_ = true;
  }

  // A slow reader's tokens share one event.
  void Append(Delta delta) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    Delta* last = events_.empty() ? nullptr : std::get_if<Delta>(&events_.back());
    if (last == nullptr || last->choice != delta.choice) {
      events_.emplace_back(std::move(delta));
      return;
    }
    last->text += delta.text;
    std::move(delta.tokens.begin(), delta.tokens.end(), std::back_inserter(last->tokens));
    last->finish = delta.finish;
  }

  std::optional<StreamEvent> Take() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (events_.empty()) return std::nullopt;
    std::optional<StreamEvent> event(std::move(events_.front()));
    events_.pop_front();
    if (const Delta* delta = std::get_if<Delta>(&*event)) {
      buffered_tokens_ -= delta->tokens.size();
      ResumeIfRoom();
    } else {
      end_taken_ = true;
    }
    return event;
  }

  void ResumeIfRoom() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (!paused_ || buffered_tokens_ > capacity_ / 2) return;
    paused_ = false;
    if (!ended_) control_->Resume(id_);
  }

  // Wakes the reader. The callback runs without the lock; Abandon waits for it.
  void Notify() {
    std::function<void()> callback;
    {
      MutexLock lock(&mutex_);
      not_empty_.NotifyAll();
      if (when_ready_ == nullptr || events_.empty()) return;
      callback = std::exchange(when_ready_, nullptr);
      calling_ = true;
      caller_ = std::this_thread::get_id();
    }
    callback();
    callback = nullptr;  // what it holds goes before Abandon returns
    MutexLock lock(&mutex_);
    calling_ = false;
    call_done_.NotifyAll();
  }

  const scheduling::RequestId id_;
  const std::size_t capacity_;
  StreamControl* const control_;
  Mutex mutex_;
  CondVar not_empty_;
  CondVar call_done_;
  std::deque<StreamEvent> events_ ABSL_GUARDED_BY(mutex_);
  std::size_t buffered_tokens_ ABSL_GUARDED_BY(mutex_) = 0;
  bool paused_ ABSL_GUARDED_BY(mutex_) = false;
  bool ended_ ABSL_GUARDED_BY(mutex_) = false;      // End was pushed
  bool end_taken_ ABSL_GUARDED_BY(mutex_) = false;  // End was read
  bool cancelled_ ABSL_GUARDED_BY(mutex_) = false;  // the engine was told
  bool abandoned_ ABSL_GUARDED_BY(mutex_) = false;  // the reader is gone
  std::function<void()> when_ready_ ABSL_GUARDED_BY(mutex_);
  bool calling_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread::id caller_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace internal

TokenStream& TokenStream::operator=(TokenStream&& other) {
  if (state_ != nullptr && state_ != other.state_) state_->Abandon();
  state_ = std::move(other.state_);
  return *this;
}

TokenStream::~TokenStream() {
  if (state_ != nullptr) state_->Abandon();
}

std::optional<StreamEvent> TokenStream::Pop() { return state_->Pop(); }

std::optional<StreamEvent> TokenStream::TryPop(std::function<void()> when_ready) {
  return state_->TryPop(std::move(when_ready));
}

void TokenStream::Cancel() { state_->Cancel(); }

scheduling::RequestId TokenStream::id() const { return state_->id(); }

bool TokenSink::Push(Delta delta) { return state_->Push(std::move(delta)); }

void TokenSink::PushEnd(End end) { state_->PushEnd(std::move(end)); }

std::pair<TokenSink, TokenStream> MakeTokenStream(scheduling::RequestId id,
                                                  std::size_t capacity_tokens,
                                                  StreamControl* control) {
  auto state = std::make_shared<internal::StreamState>(id, capacity_tokens, control);
  return {TokenSink(state), TokenStream(state)};
}

}  // namespace llava::engine
