#include "training/service/job_runner.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/check.h"
#include "base/field_error.h"
#include "base/status_macros.h"
#include "training/publish/publish.h"

namespace llava::training {
namespace {

constexpr std::size_t kMaxRecipeBytes = std::size_t{1} << 20;
constexpr int kRejectedExitCode = 3;  // of llava-train run: trained, but not good enough
constexpr int kMostCrashes = 10;
constexpr Duration kBetweenStores = std::chrono::seconds(1);  // tries to store an end
constexpr char kLate[] = "was not done by its deadline";
constexpr std::int64_t kProgressBytes = 16384;  // of the log's end that are searched for progress

std::string LastLines(const std::string& path, std::int64_t bytes) {
  std::ifstream file(path, std::ios::binary | std::ios::ate);
  if (!file) return "";
  const std::int64_t size = file.tellg();
  file.seekg(std::max<std::int64_t>(0, size - bytes));
  return std::string(std::istreambuf_iterator<char>(file), {});
}

// The last whole line of `text` for which `wanted` holds.
template <typename Predicate>
std::string LastLine(const std::string& text, Predicate wanted) {
  std::size_t end = text.size();
  while (end != 0) {
    const std::size_t begin = text.rfind('\n', end - 1);
    const std::size_t from = begin == text.npos ? 0 : begin + 1;
    const std::string line = text.substr(from, end - from);
    if (wanted(line)) return line;
    if (begin == text.npos) break;
    end = begin;
  }
  return "";
}

// The folders of the versions that were published somewhere below `folder`, where a recipe's
// relative path puts them. Links are not followed: what they lead to is not deleted either.
absl::StatusOr<std::vector<std::string>> PublishedBelow(const std::string& folder) {
  namespace fs = std::filesystem;
  std::error_code error;
  if (!fs::exists(folder, error) && !error) return std::vector<std::string>();  // it never ran
  std::vector<std::string> folders = {folder};
  for (fs::recursive_directory_iterator at(folder, error), end; !error && at != end;
       at.increment(error)) {
    std::error_code ignored;  // gone meanwhile
    if (at->symlink_status(ignored).type() != fs::file_type::directory) continue;
    folders.push_back(at->path().string());
  }
  if (error) return absl::ErrnoToStatus(error.value(), folder);
  std::vector<std::string> published;
  for (const std::string& root : folders) {
    ASSIGN_OR_RETURN(const std::vector<PublishedVersion> versions, ListVersions(root));
    for (const PublishedVersion& version : versions) published.push_back(version.dir);
  }
  return published;
}

}  // namespace

JobRunner::JobRunner(JobStore& store, const Clock& clock, JobRunnerOptions options)
    : store_(store),
      clock_(clock),
      options_(std::move(options)),
      wake_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      next_tick_(clock.Now()) {
  LLAVA_CHECK_GE(wake_, 0);
  LLAVA_CHECK(!options_.command.empty());
  thread_ = std::jthread([this] { Loop(); });
}

JobRunner::~JobRunner() {
  {
    MutexLock lock(&mutex_);
    stopping_ = true;
    changed_.NotifyAll();
  }
  Wake();
  thread_.join();
  ::close(wake_);
}

std::string JobRunner::JobFolder(std::int64_t id) const {
  return absl::StrCat(options_.folder, "/", id);
}

void JobRunner::Wake() {
  const std::uint64_t one = 1;
  LLAVA_CHECK_EQ(::write(wake_, &one, sizeof(one)), static_cast<ssize_t>(sizeof(one)));
}

void JobRunner::Changed() {
  MutexLock lock(&mutex_);
  ++changes_;
  changed_.NotifyAll();
}

std::int64_t JobRunner::changes() {
  MutexLock lock(&mutex_);
  return changes_;
}

void JobRunner::WaitForChange(std::int64_t seen, TimePoint deadline) {
  MutexLock lock(&mutex_);
  while (!stopping_ && changes_ == seen) {
    if (!changed_.WaitUntil(&mutex_, deadline)) return;
  }
}

absl::StatusOr<Job> JobRunner::Create(const Job& wanted) {
  const std::string& recipe = wanted.recipe;
  if (recipe.empty() || recipe.size() > kMaxRecipeBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("recipe: has ", recipe.size(), " bytes, expected 1 to ", kMaxRecipeBytes));
  }
  if (options_.check_recipe) RETURN_IF_ERROR(options_.check_recipe(recipe));
  ASSIGN_OR_RETURN(const std::vector<Job> unfinished, store_.Unfinished());
  if (static_cast<int>(unfinished.size()) >= options_.max_unfinished) {
    return absl::ResourceExhaustedError(absl::StrCat("there are ", unfinished.size(),
                                                     " unfinished jobs, at most ",
                                                     options_.max_unfinished, " are allowed"));
  }
  Job job;
  job.recipe = recipe;
  job.creator = wanted.creator;
  job.created_ms = clock_.UnixMillis();
  job.data_fingerprint = wanted.data_fingerprint;
  job.deadline_ms = wanted.deadline_ms;
  job.inputs = wanted.inputs;
  auto stored = store_.Insert(std::move(job));
  Changed();
  Wake();
  return stored;
}

absl::StatusOr<Job> JobRunner::Cancel(std::int64_t id) {
  RETURN_IF_ERROR(store_.RequestCancel(id));
  Changed();
  Wake();
  return store_.Get(id);
}

absl::Status JobRunner::Retry(std::int64_t id) {
  ASSIGN_OR_RETURN(Job job, store_.Get(id));
  if (job.state != JobState::kFailed) {
    return absl::FailedPreconditionError(absl::StrCat("job ", id, " did not fail"));
  }
  job.state = JobState::kQueued;
  job.message = absl::StrCat("is tried again after: ", job.message);
  job.crashes = 0;
  job.ended_ms = 0;
  RETURN_IF_ERROR(store_.Update(job));
  Changed();
  Wake();
  return absl::OkStatus();
}

absl::Status JobRunner::Delete(std::int64_t id) {
  ASSIGN_OR_RETURN(const Job job, store_.Get(id));
  if (!HasEnded(job.state)) {
    return absl::FailedPreconditionError(
        absl::StrCat("job ", id, " has not ended: cancel it first"));
  }
  ASSIGN_OR_RETURN(const std::vector<std::string> published, PublishedBelow(JobFolder(id)));
  if (!published.empty()) {
    return absl::FailedPreconditionError(absl::StrCat(
        "job ", id, " is kept: what it has published is in its folder and would be deleted too: ",
        absl::StrJoin(published, ", "), "; move the versions elsewhere first"));
  }
  std::error_code error;
  std::filesystem::remove_all(JobFolder(id), error);
  if (error) return absl::ErrnoToStatus(error.value(), JobFolder(id));
  RETURN_IF_ERROR(store_.Delete(id));
  Changed();
  return absl::OkStatus();
}

std::string JobRunner::Progress(std::int64_t id) const {
  return LastLine(LastLines(JobFolder(id) + "/log", kProgressBytes), [](const std::string& line) {
    return line.size() > 2 && line.front() == '{' && line.back() == '}';
  });
}

std::int64_t JobRunner::LogSize(std::int64_t id) const {
  std::error_code error;
  const std::uintmax_t size = std::filesystem::file_size(JobFolder(id) + "/log", error);
  return error ? 0 : static_cast<std::int64_t>(size);
}

std::string JobRunner::ReadLog(std::int64_t id, std::int64_t offset, std::int64_t most) const {
  const std::int64_t size = std::min(LogSize(id) - offset, most);
  std::ifstream file(JobFolder(id) + "/log", std::ios::binary);
  if (size <= 0 || !file.seekg(offset)) return "";
  std::string text(static_cast<std::size_t>(size), '\0');
  file.read(text.data(), size);
  text.resize(static_cast<std::size_t>(file.gcount()));
  return text;
}

void JobRunner::Loop() {
  for (;;) {
    {
      MutexLock lock(&mutex_);
      if (stopping_) break;
    }
    Reap();
    StoreEnds();
    EndCancelledAndLate();
    StartQueued();
    if (options_.on_tick && clock_.Now() >= next_tick_) {
      options_.on_tick(*this);
      next_tick_ = clock_.Now() + options_.tick_interval;
    }
    Poll();
  }
  StopChildren();
}

// Until a child ends, somebody wakes us, or something is due.
void JobRunner::Poll() {
  std::vector<pollfd> files = {{wake_, POLLIN, 0}};
  TimePoint due = options_.on_tick ? next_tick_ : TimePoint::max();
  for (const auto& [id, job] : running_) {
    files.push_back({job.process.descriptor(), POLLIN, 0});
    due = std::min(due, job.kill_at);
  }
  if (!unstored_.empty()) due = std::min(due, clock_.Now() + kBetweenStores);
  int timeout = -1;
  if (due != TimePoint::max()) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(due - clock_.Now());
    timeout = static_cast<int>(std::clamp<std::int64_t>(left.count(), 0, 60'000));
  }
  ::poll(files.data(), files.size(), timeout);
  std::uint64_t count = 0;
  const ssize_t ignored = ::read(wake_, &count, sizeof(count));
  static_cast<void>(ignored);  // EAGAIN: nobody woke us
}

void JobRunner::StartQueued() {
  auto unfinished = store_.Unfinished();
  if (!unfinished.ok()) return;  // said to whoever asks for jobs; tried again at the next wake-up
  for (const JobState state : {JobState::kRunning, JobState::kQueued}) {
    for (Job& job : *unfinished) {
      if (static_cast<int>(running_.size()) >= options_.max_running) return;
      if (job.state != state || running_.contains(job.id) || unstored_.contains(job.id)) continue;
      if (job.cancel_requested) continue;
      const absl::Status status = Start(&job);
      if (!status.ok()) Finish(job, JobState::kFailed, MessageOf(status));
    }
  }
}

// What goes wrong is an attempt too: *job counts it, for who ends the job.
absl::Status JobRunner::Start(Job* job) {
  // One that runs already goes on after the service was down, which is no attempt of its own.
  if (job->state != JobState::kRunning) ++job->attempts;
  job->state = JobState::kRunning;
  if (++job->crashes > kMostCrashes) {  // else a job that takes the service down does so for ever
    return absl::AbortedError(
        absl::StrCat("the service died ", kMostCrashes, " times in a row while it ran"));
  }
  if (job->started_ms == 0) job->started_ms = clock_.UnixMillis();
  const std::string folder = JobFolder(job->id);
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) return absl::ErrnoToStatus(error.value(), folder);
  const std::string recipe = folder + "/recipe.yaml";
  std::ofstream file(recipe, std::ios::binary);
  file << job->recipe;
  file.close();
  if (!file) return absl::ResourceExhaustedError(absl::StrCat(recipe, ": cannot be written"));
  RETURN_IF_ERROR(store_.Update(*job));  // before it runs: it must never run unknown to the store
  return StartProcess(*job);
}

JobSteps* JobRunner::StepsOf(const Job& job) const {
  return options_.steps_of ? options_.steps_of(job) : nullptr;
}

bool JobRunner::IsLate(const Job& job) const {
  return job.deadline_ms != 0 && clock_.UnixMillis() >= job.deadline_ms;
}

absl::Status JobRunner::StartProcess(const Job& job) {
  const std::string folder = JobFolder(job.id);
  std::vector<std::string> arguments = options_.command;
  arguments.push_back(folder + "/recipe.yaml");
  if (JobSteps* const steps = StepsOf(job)) {
    ASSIGN_OR_RETURN(JobStep step, steps->Next(job, folder));
    if (step.command.empty()) {
      Finish(job, step.state, step.message);
      return absl::OkStatus();
    }
    if (job.cancel_requested || IsLate(job)) return absl::OkStatus();  // is ended at the next look
    arguments = std::move(step.command);
  }
  ASSIGN_OR_RETURN(ChildProcess process, ChildProcess::Start(arguments, folder, folder + "/log"));
  running_.emplace(job.id, Running{std::move(process)});
  Changed();
  return absl::OkStatus();
}

void JobRunner::Reap() {
  std::vector<std::pair<std::int64_t, std::string>> ended;
  for (auto& [id, job] : running_) {
    if (clock_.Now() >= job.kill_at) job.process.Signal(SIGKILL);
    if (std::optional<std::string> how = job.process.Ended()) ended.emplace_back(id, *how);
  }
  for (const auto& [id, how] : ended) {
    const auto process = running_.extract(id);
    Ended(id, process.mapped(), how);
  }
}

void JobRunner::Ended(std::int64_t id, const Running& running, const std::string& how) {
  auto job = store_.Get(id);
  if (!job.ok()) return;
  job->crashes = 0;
  static_cast<void>(store_.Update(*job));  // else it counts as one more
  // What was done in spite of being asked to end is done: the last step has published.
  if (how.empty() && (!ending_ || StepsOf(*job) == nullptr)) {
    GoOn(*job, 0, how, "");
  } else if (job->cancel_requested) {
    Finish(*job, JobState::kCancelled, "was cancelled");
  } else if (running.is_late) {
    Finish(*job, JobState::kFailed, kLate);
  } else if (!ending_) {  // else it goes on when the service is back
    GoOn(*job, running.process.exit_code(), how,
         LastLine(LastLines(JobFolder(id) + "/log", kProgressBytes),
                  [](const std::string& line) { return !line.empty(); }));
  }
}

// A process has ended by itself.
void JobRunner::GoOn(const Job& job, int exit_code, const std::string& how,
                     const std::string& last) {
  const std::string why = absl::StrCat(how, how.empty() || last.empty() ? "" : ": ", last);
  const bool rejected = exit_code == kRejectedExitCode;
  if (JobSteps* const steps = StepsOf(job)) {
    absl::Status status = steps->Ended(job, JobFolder(job.id), exit_code, rejected ? last : why);
    if (status.ok()) status = StartProcess(job);
    if (!status.ok()) Finish(job, JobState::kFailed, MessageOf(status));
  } else if (exit_code == 0) {
    Finish(job, JobState::kSucceeded, "");
  } else if (rejected) {
    Finish(job, JobState::kRejected, last);
  } else {
    Finish(job, JobState::kFailed, why);
  }
}

void JobRunner::EndCancelledAndLate() {
  const auto unfinished = store_.Unfinished();
  if (!unfinished.ok()) return;
  for (const Job& job : *unfinished) {
    const bool late = IsLate(job);
    if ((!job.cancel_requested && !late) || unstored_.contains(job.id)) continue;
    const auto found = running_.find(job.id);
    if (found == running_.end()) {
      if (job.cancel_requested) {
        Finish(job, JobState::kCancelled, "was cancelled");
      } else {
        Finish(job, JobState::kFailed, kLate);
      }
    } else if (found->second.kill_at == TimePoint::max()) {
      found->second.process.Signal(SIGTERM);
      found->second.kill_at = clock_.Now() + options_.grace;
      found->second.is_late = late;
    }
  }
}

void JobRunner::Finish(Job job, JobState state, const std::string& message) {
  job.state = state;
  job.message = message;
  job.ended_ms = clock_.UnixMillis();
  if (options_.on_end) options_.on_end(job);
  const absl::Status stored = store_.Update(job);
  if (stored.ok()) return Changed();
  if (options_.on_problem) {
    options_.on_problem(Annotate(stored, absl::StrCat("the end of job ", job.id,
                                                      " cannot be written, which is tried again")));
  }
  unstored_.insert_or_assign(job.id, std::move(job));
}

// Where the disk is full a job stays what it was in the store: it is not begun again, but its end
// is stored when there is room. After a restart it is run once more.
void JobRunner::StoreEnds() {
  const auto stored = std::erase_if(unstored_, [this](const auto& end) {
    const absl::Status status = store_.Update(end.second);
    return status.ok() || absl::IsNotFound(status);
  });
  if (stored > 0) Changed();
}

void JobRunner::StopChildren() {
  ending_ = true;
  next_tick_ = TimePoint::max();
  for (auto& [id, job] : running_) {
    job.process.Signal(SIGTERM);
    job.kill_at = clock_.Now() + options_.grace;
  }
  for (Reap(); !running_.empty(); Reap()) Poll();
}

}  // namespace llava::training
