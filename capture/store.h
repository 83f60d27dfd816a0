// The folder that a daemon captures turns into: the shards that are being written, one a tenant,
// those before them, and where each of the newest answers is, so that a verdict finds it. Bounded
// in age, and in bytes: of whoever has most above its share of them the oldest shards go, so that a
// tenant that stays within its own loses nothing to another's traffic.
#ifndef LLAVA_CAPTURE_STORE_H_
#define LLAVA_CAPTURE_STORE_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/clock.h"
#include "base/digest.h"
#include "base/file.h"
#include "capture/open_shard.h"
#include "capture/removal.h"
#include "capture/row.h"
#include "capture/verdicts.h"

namespace llava::capture {

// Answers that can be judged: so many of the newest.
inline constexpr std::size_t kMaxJudgeable = 100'000;

// Not thread-safe. One process at a time has a folder open.
class Store {
 public:
  struct Options {
    std::string dir;                             // is made where there is none
    std::int64_t bytes = std::int64_t{4} << 30;  // of all files
    // Each has an equal share of the bytes; who is not named has none, and what room others leave.
    std::set<std::string> tenants = {};
    Duration retention = std::chrono::hours(24 * 30);
    Duration shard_time = std::chrono::hours(1);  // a shard is closed after
  };

  // UNAVAILABLE: another process has the folder; INVALID_ARGUMENT names a file that is damaged;
  // else errno's code and the path.
  static absl::StatusOr<std::unique_ptr<Store>> Open(const Options& options, const Clock* clock);
  ~Store();

  // From now on. Closes the open shards: with more tenants they are to be smaller.
  absl::Status SetTenants(std::set<std::string> tenants);

  // The row is on the disk. INVALID_ARGUMENT: it is larger than a shard may be, an eighth of a
  // share.
  absl::Status Add(const Row& row);

  // The newest answer `id` of `tenant` gets the verdict, whose time is filled in; none, without a
  // correction, takes back the one before. NoSuchAnswer (removal.h): the tenant has
  // none of this name among the newest kMaxJudgeable, or it was asked to be forgotten.
  absl::Status Judge(const std::string& tenant, const std::string& id, Verdict verdict);

  // See removal.h. Closes the open shards before. Of an answer that was never there nothing is
  // read, as long as all rows are among the newest kMaxJudgeable.
  absl::StatusOr<Removed> Remove(const std::string& tenant, const std::string& id);

  // Closes the shards that are old enough, and deletes those that have expired.
  absl::Status Tend();

  // Closes the open shards: whoever trains may read them.
  absl::Status CloseShards();

  std::int64_t bytes() const;
  // By tenant. A shard of an earlier version counts to the tenant of its first row.
  std::map<std::string, std::int64_t> BytesOfTenants() const;
  const std::set<std::string>& tenants() const { return tenants_; }

 private:
  struct Closed {
    std::string tenant;
    std::int64_t bytes = 0;
  };

  struct Place {
    std::string shard;
    std::int64_t row = 0;
    std::uint64_t order = 0;  // of its arrival
  };

  // The file of verdicts that the last one went to.
  struct Judged {
    std::string shard;
    VerdictFile file;
  };

  using OpenShards = std::map<std::string, std::unique_ptr<OpenShard>>;  // by tenant

  Store(const Options& options, const Clock* clock, FileDescriptor lock)
      : options_(options), clock_(clock), lock_(std::move(lock)), tenants_(options.tenants) {}
  absl::Status Load();
  absl::Status Repair();
  absl::Status LoadShards();
  absl::Status LoadIndex();
  absl::StatusOr<OpenShard*> EnsureOpen(const std::string& tenant, std::int64_t weight);
  absl::Status MakeRoom(const std::string& tenant, std::int64_t weight);
  absl::Status DeleteOldestOf(const std::string& tenant);
  absl::Status Delete(const std::string& name);
  absl::Status Close(std::string tenant);
  OpenShard* OpenNamed(const std::string& name) const;
  absl::StatusOr<VerdictFile*> VerdictsOf(const std::string& shard);
  std::string FolderOf(const std::string& shard) const;
  void AddBytes(const std::string& shard, std::int64_t more);
  bool IsOldEnough(const OpenShard& shard) const;
  void Remember(const Digest& key, const std::string& shard, std::int64_t row);
  std::int64_t ShareBytes() const;
  std::int64_t MaxShardBytes() const;
  std::int64_t NowSeconds() const { return clock_->UnixMillis() / 1000; }

  const Options options_;
  const Clock* const clock_;
  const FileDescriptor lock_;
  std::set<std::string> tenants_;
  std::map<std::string, Closed> closed_;  // by name
  OpenShards open_;
  std::optional<Judged> judged_;
  std::int64_t last_name_ = 0;                          // of the newest shard there ever was
  std::unordered_map<Digest, Place> places_;            // by tenant and id
  std::deque<std::pair<Digest, std::uint64_t>> order_;  // the oldest first
  std::uint64_t arrivals_ = 0;
  bool knows_all_ = true;  // no row is too old for places_
};

}  // namespace llava::capture

#endif  // LLAVA_CAPTURE_STORE_H_
