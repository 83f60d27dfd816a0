#include "rpc/message_waits.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace llava::rpc {

MessageWaits::Place MessageWaits::Enter(const std::string& caller, TimePoint now, End end) {
  MutexLock lock(&mutex_);
  const auto line = lines_.try_emplace(caller).first;
  if (line->second.size() >= limits_.most_per_caller) {
    for (Wait& wait : line->second) {
      if (wait.end == nullptr) continue;
      std::exchange(wait.end, nullptr)(absl::ResourceExhaustedError(
          absl::StrCat("more than ", limits_.most_per_caller, " calls wait for their message")));
      break;
    }
  }
  line->second.push_back({now, std::move(end)});
  return {line, std::prev(line->second.end())};
}

bool MessageWaits::Leave(Place place) {
  MutexLock lock(&mutex_);
  const bool was_ended = place.wait->end == nullptr;
  place.caller->second.erase(place.wait);
  if (place.caller->second.empty()) lines_.erase(place.caller);
  return !was_ended;
}

void MessageWaits::EndOverdue(TimePoint now) {
  MutexLock lock(&mutex_);
  for (auto& [caller, line] : lines_) {
    for (Wait& wait : line) {
      if (now - wait.since < limits_.patience) break;  // and those after it are younger
      if (wait.end == nullptr) continue;
      std::exchange(wait.end, nullptr)(absl::DeadlineExceededError(
          absl::StrCat("the message did not come within ", Seconds(limits_.patience), " s")));
    }
  }
}

}  // namespace llava::rpc
