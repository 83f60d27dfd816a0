#include "server/engine/inbox.h"

namespace llava::engine {
namespace {

absl::Status Closed() { return absl::UnavailableError("the engine is shutting down"); }

}  // namespace

bool Messages::empty() const {
  return add_versions.empty() && submitted.empty() && resumed.empty() && cancelled.empty() &&
         remove_versions.empty();
}

bool Inbox::TrySubmit(Submitted& submitted) {
  MutexLock lock(&mutex_);
  if (messages_.closed || messages_.submitted.size() >= capacity_) return false;
  messages_.submitted.push_back(std::move(submitted));
  changed_.NotifyOne();
  return true;
}

void Inbox::Cancel(scheduling::RequestId id) {
  MutexLock lock(&mutex_);
  messages_.cancelled.push_back({id, steps_});
  changed_.NotifyOne();
}

void Inbox::Resume(scheduling::RequestId id) {
  MutexLock lock(&mutex_);
  messages_.resumed.push_back(id);
  changed_.NotifyOne();
}

void Inbox::AddVersion(std::shared_ptr<const LoadedModel> model, Done done) {
  {
    MutexLock lock(&mutex_);
    if (!messages_.closed) {
      messages_.add_versions.emplace_back(std::move(model), std::move(done));
      changed_.NotifyOne();
      return;
    }
  }
  done(Closed());
}

void Inbox::RemoveVersion(const Digest& version, Done done) {
  {
    MutexLock lock(&mutex_);
    if (!messages_.closed) {
      messages_.remove_versions.emplace_back(version, std::move(done));
      changed_.NotifyOne();
      return;
    }
  }
  done(Closed());
}

void Inbox::Close() {
  MutexLock lock(&mutex_);
  messages_.closed = true;
  changed_.NotifyOne();
}

void Inbox::StepBegins() {
  MutexLock lock(&mutex_);
  ++steps_;
}

Messages Inbox::TakeAll() {
  MutexLock lock(&mutex_);
  Messages taken;
  taken.closed = messages_.closed;
  std::swap(taken, messages_);
  return taken;
}

void Inbox::Wait(std::optional<TimePoint> deadline) {
  MutexLock lock(&mutex_);
  while (messages_.empty() && !messages_.closed) {
    if (!deadline) {
      changed_.Wait(&mutex_);
    } else if (!changed_.WaitUntil(&mutex_, *deadline)) {
      return;
    }
  }
}

}  // namespace llava::engine
