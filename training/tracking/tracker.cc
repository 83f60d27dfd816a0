#include "training/tracking/tracker.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/field_error.h"
#include "base/status_macros.h"

namespace llava::training {

Tracker::Tracker(const std::string& folder, RunRecord record, const Clock& clock,
                 std::function<void(const std::string&)> on_message, const TrackerTimes& times)
    : folder_(folder),
      uri_(record.options.uri),
      record_(std::move(record)),
      clock_(clock),
      on_message_(std::move(on_message)),
      times_(times),
      wait_(times.first_wait) {
  Write();
  thread_ = std::jthread([this] { Loop(); });
}

Tracker::~Tracker() {
  {
    MutexLock lock(&mutex_);
    stopping_ = true;
    if (teller_ != nullptr) teller_->Stop();
    changed_.NotifyAll();
  }
  thread_.join();
}

void Tracker::Write() {
  const absl::Status written = WriteRunRecord(record_, folder_);
  if (!written.ok()) on_message_(absl::StrCat("MLflow: ", MessageOf(written)));
}

void Tracker::Finish(const std::string& status, const std::map<std::string, std::string>& tags) {
  if (record_.status != status) {
    record_.status = status;
    record_.ended = clock_.UnixMillis();
  }
  for (const auto& [name, value] : tags) record_.tags[name] = value;
  Write();
  const TimePoint deadline = clock_.Now() + times_.last_words;
  bool knows_all = false;
  {
    MutexLock lock(&mutex_);
    finishing_ = true;
    changed_.NotifyAll();
    while (!ended_ && clock_.Now() < deadline) changed_.WaitUntil(&mutex_, deadline);
    knows_all = knows_all_;
  }
  if (knows_all) return;
  on_message_(absl::StrCat("MLflow does not know all of this run yet: llava-train track ", folder_,
                           " tells it the rest"));
}

// Shorter where the run ends. False when this is to stop.
bool Tracker::WaitFor(Duration wait) {
  const TimePoint until = clock_.Now() + wait;
  MutexLock lock(&mutex_);
  while (!stopping_ && !finishing_ && clock_.Now() < until) changed_.WaitUntil(&mutex_, until);
  return !stopping_;
}

void Tracker::Loop() {
  for (;;) {
    bool last = false;  // looked at before what there is to say is, so that nothing is missed
    {
      MutexLock lock(&mutex_);
      if (stopping_) return;
      last = finishing_;
    }
    const absl::StatusOr<bool> more = Tell();
    if (absl::IsCancelled(more.status())) return;
    Note(more.status());
    if (more.ok() && *more) continue;
    if (last) {
      MutexLock lock(&mutex_);
      ended_ = true;
      knows_all_ = more.ok();
      changed_.NotifyAll();
      return;
    }
    Duration wait = times_.look;
    if (!more.ok()) {
      wait = wait_;
      if (teller_ != nullptr) wait = std::max(wait, teller_->retry_after().value_or(wait));
      wait_ = std::min(2 * wait_, times_.longest_wait);
    }
    if (!WaitFor(wait)) return;
  }
}

absl::StatusOr<bool> Tracker::Tell() {
  if (teller_ == nullptr) {
    ASSIGN_OR_RETURN(std::unique_ptr<Teller> teller, Teller::Make(folder_, clock_, on_message_));
    MutexLock lock(&mutex_);
    if (stopping_) return absl::CancelledError("stopped");
    teller_ = std::move(teller);
  }
  return teller_->Next();
}

void Tracker::Note(const absl::Status& told) {
  if (told.ok()) wait_ = times_.first_wait;
  if (told.ok() == is_well_) return;
  is_well_ = told.ok();
  on_message_(is_well_ ? absl::StrCat("MLflow at ", uri_, " takes what it is told again")
                       : absl::StrCat("MLflow at ", uri_, ": ", MessageOf(told),
                                      "; training goes on, and it is told later"));
}

absl::Status TellTheRest(const std::string& folder, const std::string& ended, const Clock& clock,
                         const std::function<void(const std::string&)>& on_message) {
  ASSIGN_OR_RETURN(RunRecord record, ReadRunRecord(folder));
  if (record.status == kRunning) {
    record.status = ended;
    record.ended = clock.UnixMillis();
    RETURN_IF_ERROR(WriteRunRecord(record, folder));
  }
  ASSIGN_OR_RETURN(const std::unique_ptr<Teller> teller, Teller::Make(folder, clock, on_message));
  for (;;) {
    ASSIGN_OR_RETURN(const bool more, teller->Next());
    if (!more) return absl::OkStatus();
  }
}

}  // namespace llava::training
