// Files and batches of all tenants in one folder: records of JSON, which are replaced as a whole,
// and beside each file's record its bytes. What a call returned for is there after a crash. Nobody
// sees what another tenant has: to them it is not there. What clients send is never part of a path.
#ifndef LLAVA_SERVER_BATCHES_STORE_H_
#define LLAVA_SERVER_BATCHES_STORE_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/clock.h"
#include "base/durable_file.h"
#include "base/file.h"
#include "server/batches/objects.h"

namespace llava::batches {

// Records in memory and on disk, of one tenant and of all.
inline constexpr std::int64_t kMaxObjectsOfTenant = 2000;
inline constexpr std::int64_t kMaxObjects = 20'000;

// Not thread-safe. One process at a time has a folder open.
class BatchStore {
 public:
  struct Options {
    std::string dir;  // is made where there is none; its parent must be there
    std::int64_t bytes = std::int64_t{10} << 30;         // of all files
    std::int64_t tenant_bytes = std::int64_t{10} << 30;  // of one tenant's
    std::int64_t retention = 30 * 86400;  // seconds; older files and ended batches go
  };

  // UNAVAILABLE: another process has the folder; INVALID_ARGUMENT names a record that is damaged.
  static absl::StatusOr<std::unique_ptr<BatchStore>> Open(const Options& options,
                                                          const Clock* clock);

  std::int64_t Now() const { return clock_->UnixMillis() / 1000; }
  std::int64_t retention() const { return options_.retention; }

  // A file that arrives: it counts from now on, its bytes as they come, and is nobody's yet. Its
  // id. Of all three: INVALID_ARGUMENT: no room; INTERNAL: the disk; then it is to be dropped.
  absl::StatusOr<std::string> BeginFile(const std::string& tenant);
  // REQUIRES: it arrives.
  absl::Status AppendFile(const std::string& id, absl::string_view content);
  // It is the tenant's. Of `file` are the name and the purpose; `lifetime`: in seconds, 0 for as
  // long as files are kept.
  absl::StatusOr<File> EndFile(const std::string& id, File file, std::int64_t lifetime);
  // Nothing of it stays, unless it has ended well. A crash does the same.
  void DropFile(const std::string& id);

  // NOT_FOUND: the tenant has none of this id. Valid until the next change.
  absl::StatusOr<const File*> FindFile(const std::string& tenant, const std::string& id) const;

  // INVALID_ARGUMENT: a batch that has not ended reads it. INTERNAL: the disk's error.
  absl::Status DeleteFile(const std::string& tenant, const std::string& id);

  // By id; ids grow with time.
  const std::map<std::string, File>& files() const { return files_; }

  // Fills in the ids and the time. NOT_FOUND: the tenant does not have the input;
  // INTERNAL: the disk.
  absl::StatusOr<Batch> AddBatch(Batch batch);
  absl::StatusOr<const Batch*> FindBatch(const std::string& tenant, const std::string& id) const;
  // REQUIRES: there is one. It stays where it is until it has ended.
  Batch* MutableBatch(const std::string& id);
  // Writes its record.
  absl::Status SaveBatch(const Batch& batch) const;
  const std::map<std::string, Batch>& batches() const { return batches_; }

  std::string DataPath(const std::string& file) const;

  // A file that a batch writes is `more` bytes longer. INVALID_ARGUMENT, and nothing is charged,
  // when there is no room.
  absl::Status Grow(const Batch& batch, const std::string& file, std::int64_t more);
  // How long it is.
  void SetGrown(const Batch& batch, const std::string& file, std::int64_t bytes);
  // It is a file like others from now on; an empty one goes, and the result is false. On an error
  // its record was not written: after a restart it is what it was before.
  absl::StatusOr<bool> KeepGrown(const Batch& batch, const std::string& file,
                                 const std::string& name);

  // Removes what has expired.
  void RemoveExpired();

  std::int64_t used_bytes() const { return total_.bytes; }

 private:
  struct Arriving {
    std::string tenant;
    OutputFile content;
    std::int64_t bytes = 0;
  };

  struct Usage {
    std::int64_t bytes = 0;
    std::int64_t objects = 0;
  };

  BatchStore(const Options& options, const Clock* clock, FileDescriptor lock)
      : options_(options), clock_(clock), lock_(std::move(lock)) {}
  absl::Status Load();
  absl::Status LoadFolder(const std::string& folder);
  void CountAnswers(Batch* batch) const;
  absl::Status TakeRecord(const std::string& path, bool is_file);
  void RemoveStray();
  absl::Status WriteRecord(const std::string& folder, const std::string& id,
                           const std::string& record) const;
  std::string NewId(const char* kind) const;
  absl::Status CheckRoom(const std::string& tenant, Usage more) const;
  void Count(const std::string& tenant, std::int64_t bytes, std::int64_t objects);
  bool IsRead(const std::string& file) const;
  absl::Status RemoveFile(std::map<std::string, File>::iterator file);

  const Options options_;
  const Clock* const clock_;
  const FileDescriptor lock_;
  std::map<std::string, File> files_;
  std::map<std::string, Batch> batches_;
  std::map<std::string, Arriving> arriving_;     // by id
  std::map<std::string, std::int64_t> growing_;  // bytes, by the file's id
  std::map<std::string, Usage> usage_;           // by tenant
  Usage total_;
};

}  // namespace llava::batches

#endif  // LLAVA_SERVER_BATCHES_STORE_H_
