// The adapters that are served beside a model: their names, how they come and how they go.
// README.md has a section on them.
#ifndef LLAVA_SERVER_REGISTRY_ADAPTER_TABLE_H_
#define LLAVA_SERVER_REGISTRY_ADAPTER_TABLE_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/clock.h"
#include "base/mutex.h"
#include "model/config/config.h"
#include "server/registry/adapter_loader.h"
#include "server/registry/served_model.h"

namespace llava::registry {

enum class AdapterState : std::uint8_t {
  kLoading,   // is read, or waits for that or for a version of the model
  kServing,   // answers
  kFailed,    // could not be loaded
  kDraining,  // was removed or replaced, and still computes what it began
  kCanary,    // answers some, beside the one in whose place it is to come
};

// "serving".
const char* StateName(AdapterState state);

// One adapter as RPC and log show it.
struct AdapterInfo {
  std::string name;
  std::string dir;
  AdapterState state = AdapterState::kLoading;
  std::int64_t since_ms = 0;  // when it came into this state, milliseconds since 1970
  std::string reason;         // of a failure
  std::string digest;         // of what it computes, in hexadecimal; the rest is known with it
  std::string base;
  std::string targets;
  int rank = 0;
  std::int64_t bytes = 0;
};

// Thread-safe. Loading happens in a thread of its own. What an adapter holds in memory is freed
// when the last request that runs on it has ended.
class AdapterTable {
 public:
  struct Options {
    std::size_t max_adapters = 64;                   // loaded or being loaded
    std::int64_t max_bytes = std::int64_t{1} << 30;  // in memory, draining ones too
    // How one that replaces another is judged; with traffic 0 it replaces it at once.
    CanaryOptions canary = {.traffic = 0};
  };
  using Ticket = std::shared_ptr<const std::optional<absl::Status>>;
  // Tells every change of a state under the table's lock: it must neither call back nor block.
  using OnChange = std::function<void(const AdapterInfo&)>;

  // An adapter that can answer, and the language model that it was loaded for.
  struct Serving {
    std::shared_ptr<const LoadedAdapter> loaded;
    model::TextConfig text;
  };

  // All outlive the table. `base` says for which model adapters are loaded.
  AdapterTable(const Options& options, AdapterLoader* loader, ModelDirectory* base,
               const Clock* clock, OnChange on_change);
  ~AdapterTable();  // Stops it.

  void Start();
  void Stop();  // Loads that wait end as UNAVAILABLE.

  // A version of the model may answer now that did not before. Does not block.
  void BaseChanged();

  // Takes the adapter in `dir` in as `name`; of one that is served the new one is the canary when
  // it is loaded and has answered its probes, and takes its place when it was not worse; else, and
  // if it cannot be loaded, the old one stays. INVALID_ARGUMENT for a name that is none;
  // FAILED_PRECONDITION when it is being loaded already; RESOURCE_EXHAUSTED for too many;
  // UNAVAILABLE after Stop.
  absl::StatusOr<Ticket> Load(const std::string& name, const std::string& dir);

  // Nothing when it is not decided by `until`.
  std::optional<absl::Status> Await(const Ticket& ticket, TimePoint until);

  // From here on no request finds it; those that run on it end on it. NOT_FOUND names those that
  // there are.
  absl::Status Remove(const std::string& name);

  // By name, a canary after the one in whose place it is to come; draining ones last. What is
  // served is failed here while the model's live version is one that it does not follow to: see
  // AdapterDirectory.
  std::vector<AdapterInfo> List();

  // NOT_FOUND names those that there are; UNAVAILABLE, with scheduling::RetryAfter, while it is
  // being loaded; FAILED_PRECONDITION when that failed. The reason is for operators: it has paths.
  // `key` decides who sees a canary, as in ModelDirectory.
  absl::StatusOr<Serving> Find(absl::string_view name, absl::string_view key);

  // Whether some adapter is compared with the one in whose place it is to come.
  bool IsJudging();
  // One finished answer of an adapter.
  void Observe(const Digest& adapter, const Observation& observation);

  // Of those that are served.
  std::map<std::string, Serving> All();

 private:
  using Job = std::shared_ptr<std::optional<absl::Status>>;
  struct Canary {
    AdapterInfo info;
    Serving serving;
    CanaryJudge judge;
  };
  struct Entry {
    AdapterInfo info;
    Serving serving;    // of nothing, until it is loaded
    Job job;            // while one is loaded
    std::string asked;  // its folder
    std::optional<Canary> canary;
  };
  struct Draining {
    AdapterInfo info;
    std::weak_ptr<const scheduling::Adapter> adapter;
  };

  std::shared_ptr<const ServedModel> Base();
  void Run();
  std::optional<std::string> AwaitJob();
  void LoadNow(const std::string& name);
  absl::StatusOr<LoadedAdapter> LoadAndProbe(const std::string& dir, const ServedModel& base,
                                             std::int64_t room, const Job& job);
  void Finish(const std::string& name, const Job& job, absl::StatusOr<LoadedAdapter> loaded,
              const model::TextConfig& text);
  void Take(Entry& entry, LoadedAdapter loaded, const model::TextConfig& text)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Reject(Entry& entry, const std::string& dir, const std::string& reason)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Judge(Entry& entry, TimePoint now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void JudgeAll(TimePoint now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool HasCanary() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void SetState(AdapterInfo& info, AdapterState state, std::string reason)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Retire(AdapterInfo info, Serving& serving) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void DropDrained() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  std::int64_t Bytes() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status MakeRoom() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status NoAdapter(absl::string_view field, absl::string_view name) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const Options options_;
  AdapterLoader* const loader_;
  ModelDirectory* const base_;
  const Clock* const clock_;
  const OnChange on_change_;

  Mutex mutex_;
  CondVar changed_;
  std::map<std::string, Entry, std::less<>> entries_ ABSL_GUARDED_BY(mutex_);
  std::vector<Draining> draining_ ABSL_GUARDED_BY(mutex_);
  std::deque<std::string> jobs_ ABSL_GUARDED_BY(mutex_);  // names of entries
  bool has_base_ ABSL_GUARDED_BY(mutex_) = true;          // as far as is known
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::jthread thread_;
};

}  // namespace llava::registry

#endif  // LLAVA_SERVER_REGISTRY_ADAPTER_TABLE_H_
