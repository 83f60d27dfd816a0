// Served turns and verdicts on their way to the folder that keeps them. An answer never waits for
// it: what does not fit into the queue, or into the memory of turns that are being answered, is
// dropped and counted. One thread owns the folder.
#ifndef LLAVA_SERVER_CAPTURE_RECORDER_H_
#define LLAVA_SERVER_CAPTURE_RECORDER_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <variant>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/bounded_queue.h"
#include "base/clock.h"
#include "base/mutex.h"
#include "capture/removal.h"
#include "capture/row.h"
#include "capture/store.h"
#include "capture/verdicts.h"
#include "server/observe/metrics.h"

namespace llava::capture {

// What a tenant has agreed to have kept.
enum class Agreement { kNothing, kTexts, kPictures };

// Names of tenants. Who is among `pictures` has agreed to texts, too.
struct AgreedTenants {
  std::set<std::string> texts = {};
  std::set<std::string> pictures = {};
};

// Why a turn of a tenant that has agreed is not kept: the label of
// llava_capture_dropped_turns_total.
enum class Drop {
  kPictures,  // it has pictures, and only texts were agreed to
  kForm,      // its messages are no conversation of a human and a model in turn
  kMark,      // somebody has written <image>, which training takes for a picture
  kTools,     // functions were offered or called
  kChoices,   // more than one answer was asked for
  kScore,     // answers were given, not made
  kEmpty,     // the answer has no text
  kMemory,    // too much is being answered at once
  kQueue,     // the disk is behind
  kSize,      // larger than a shard may be
  kDisk,      // the disk refused it
};

// A turn whose answer is being made: its pictures are held until it ends. Movable by its pointer;
// one thread at a time.
class PendingTurn {
 public:
  // `held` outlives the turn.
  PendingTurn(Row row_in, std::string begun, std::atomic<std::int64_t>* held, std::int64_t bytes)
      : row(std::move(row_in)), answer(std::move(begun)), held_(held), bytes_(bytes) {}
  ~PendingTurn() { held_->fetch_sub(bytes_); }
  PendingTurn(const PendingTurn&) = delete;
  PendingTurn& operator=(const PendingTurn&) = delete;

  Row row;             // without its answer
  std::string answer;  // so far; begins with what the client had of it

 private:
  std::atomic<std::int64_t>* const held_;
  const std::int64_t bytes_;
};

// Thread-safe.
class Recorder {
 public:
  struct Options {
    Store::Options store;  // its tenants are those that have agreed
    AgreedTenants agreed = {};
    std::size_t queue = 1024;                           // turns and verdicts that wait
    std::int64_t held_bytes = std::int64_t{256} << 20;  // of turns that are being answered or wait
    std::function<void(const absl::Status&)> on_problem = nullptr;  // of the disk; in its thread
  };

  // Errors of Store::Open. `clock` and `metrics` outlive the recorder. Starts the thread.
  static absl::StatusOr<std::unique_ptr<Recorder>> Open(const Options& options, const Clock* clock,
                                                        observe::Metrics* metrics);
  ~Recorder() { Stop(); }

  Agreement AgreedBy(const std::string& tenant) const;
  // For turns that begin from now on; of a tenant that has not agreed any more, nothing that is
  // being answered is kept either.
  void SetAgreed(AgreedTenants agreed);
  Duration retention() const { return options_.store.retention; }

  void Count(Drop why);

  // Holds a turn until Record, or until it is destroyed: then nothing of it is kept. Null, and it
  // is counted, when too much is held. `begun`: what the client had of the answer already.
  std::unique_ptr<PendingTurn> Hold(Row row, std::string begun);

  // The turn has ended well: it is written soon, or dropped and counted. Never blocks.
  void Record(std::unique_ptr<PendingTurn> turn);

  // `done` is called once, in the recorder's thread, with the result of Store::Judge; or at once:
  // INVALID_ARGUMENT of CheckCorrection, RESOURCE_EXHAUSTED when the disk is behind, UNAVAILABLE
  // after Stop. What was recorded before is found.
  void Judge(const std::string& tenant, const std::string& id, Verdict verdict,
             const std::function<void(absl::Status)>& done);

  // The same with the result of Store::Remove.
  void Remove(const std::string& tenant, const std::string& id,
              const std::function<void(absl::StatusOr<Removed>)>& done);

  // Writes what waits, closes the shard, and ends the thread. Again is allowed.
  void Stop();

 private:
  using Turn = std::unique_ptr<PendingTurn>;
  using Work = std::function<void()>;

  Recorder(const Options& options, const Clock* clock, observe::Metrics* metrics,
           std::unique_ptr<Store> store);
  void Run();
  void Write(Turn turn);
  void Tend();
  void TakeTenants();
  void ShowBytes();
  void Tell(const absl::Status& problem);
  absl::Status TryPost(Work work);
  // What a client may be told of an error: of the disk's nothing but that it is one.
  absl::Status ForClients(const absl::Status& status);

  const Options options_;
  const Clock* const clock_;
  observe::Metrics* const metrics_;
  const std::unique_ptr<Store> store_;  // of the thread
  const Duration tend_interval_;
  TimePoint next_tend_{};     // of the thread
  TimePoint next_problem_{};  // of the thread
  mutable Mutex mutex_;
  AgreedTenants agreed_ ABSL_GUARDED_BY(mutex_);
  bool has_new_tenants_ ABSL_GUARDED_BY(mutex_) = false;
  std::atomic<std::int64_t> held_ = 0;
  std::atomic<bool> stopping_ = false;
  BoundedQueue<std::variant<Turn, Work>> queue_;
  std::jthread thread_;  // joined by Stop
};

}  // namespace llava::capture

#endif  // LLAVA_SERVER_CAPTURE_RECORDER_H_
