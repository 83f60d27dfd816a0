#include "server/chat/prepare_queue.h"

#include <tuple>
#include <utility>

#include "base/check.h"

namespace llava::api {

PrepareQueue::PrepareQueue(std::size_t capacity) : capacity_(capacity) {
  LLAVA_CHECK_GT(capacity, 0u);
}

bool PrepareQueue::TryPush(const std::string& tenant, Job job) {
  const auto line = lines_.find(tenant);
  const std::size_t own = line == lines_.end() ? 0 : line->second.waiting();
  if (waiting_ >= capacity_ || own >= capacity_ - waiting_) return false;
  Push(tenant, std::move(job), &Line::texts);
  return true;
}

void PrepareQueue::PushPicture(const std::string& tenant, Job job) {
  Push(tenant, std::move(job), &Line::pictures);
}

void PrepareQueue::Push(const std::string& tenant, Job job, std::deque<Entry> Line::* queue) {
  Line& line = lines_[tenant];
  line.share = shares_.Enter(tenant);
  (line.*queue).push_back({++last_number_, std::move(job)});
  ++waiting_;
}

std::optional<PrepareQueue::Taken> PrepareQueue::Pop(bool texts_only) {
  auto best = lines_.end();
  std::tuple<std::int64_t, int, std::uint64_t> least;
  for (auto it = lines_.begin(); it != lines_.end(); ++it) {
    const std::deque<Entry>* queue = it->second.Oldest(texts_only);
    if (queue == nullptr) continue;
    const std::tuple had(it->second.share->counter, it->second.running, queue->front().number);
    if (best != lines_.end() && least <= had) continue;
    best = it;
    least = had;
  }
  if (best == lines_.end()) return std::nullopt;
  std::deque<Entry>& queue = *best->second.Oldest(texts_only);
  Taken taken{best->first, std::move(queue.front().job)};
  queue.pop_front();
  ++best->second.running;
  --waiting_;
  return taken;
}

void PrepareQueue::Done(const std::string& tenant, Duration cpu_time) {
  const auto line = lines_.find(tenant);
  LLAVA_CHECK(line != lines_.end() && line->second.running > 0);
  line->second.share->counter += cpu_time.count();
  shares_.Leave(tenant);
  if (--line->second.running == 0 && line->second.waiting() == 0) lines_.erase(line);
}

// Null: there is none.
std::deque<PrepareQueue::Entry>* PrepareQueue::Line::Oldest(bool texts_only) {
  if (texts.empty() && (texts_only || pictures.empty())) return nullptr;
  if (texts_only || pictures.empty()) return &texts;
  if (texts.empty() || pictures.front().number < texts.front().number) return &pictures;
  return &texts;
}

}  // namespace llava::api
