#include "capture/store.h"

#include <fcntl.h>
#include <sys/file.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <iterator>
#include <system_error>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/durable_file.h"
#include "base/status_macros.h"
#include "capture/shard.h"

namespace llava::capture {
namespace {

namespace fs = std::filesystem;

// A shard has so much of a share at most, so that making room never takes everything.
constexpr std::int64_t kShardsAtLeast = 8;

// What people said is for nobody else's eyes; a folder that is there keeps the mode it has.
absl::Status MakeFolder(const std::string& path) {
  std::error_code error;
  const bool is_new = fs::create_directories(path, error);
  if (is_new) fs::permissions(path, fs::perms::owner_all, error);
  return error ? absl::ErrnoToStatus(error.value(), absl::StrCat("cannot make ", path))
               : absl::OkStatus();
}

Digest KeyOf(absl::string_view tenant, absl::string_view id) {
  return Sha256Of(absl::StrCat(tenant.size(), " ", tenant, id));
}

// Of the first row; a shard has rows of one tenant.
absl::StatusOr<std::string> TenantOf(const std::string& folder) {
  const std::string path = RowsFile(folder);
  ASSIGN_OR_RETURN(LineReader rows, LineReader::Open(path));
  ASSIGN_OR_RETURN(const std::optional<Line> line, rows.Next());
  if (!line.has_value()) return "";
  auto head = ParseRowHead(line->text);
  if (!head.ok()) return Annotate(head.status(), absl::StrCat(path, ":1"));
  return std::move(head->tenant);
}

}  // namespace

absl::StatusOr<std::unique_ptr<Store>> Store::Open(const Options& options, const Clock* clock) {
  RETURN_IF_ERROR(MakeFolder(options.dir));
  RETURN_IF_ERROR(MakeFolder(ShardsFolder(options.dir)));
  const std::string path = options.dir + "/lock";
  FileDescriptor lock(open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
  if (!lock.is_open()) return absl::ErrnoToStatus(errno, absl::StrCat("cannot open ", path));
  if (flock(lock.get(), LOCK_EX | LOCK_NB) != 0) {
    return absl::UnavailableError(absl::StrCat(options.dir, ": another process captures there"));
  }
  auto store = std::unique_ptr<Store>(new Store(options, clock, std::move(lock)));
  RETURN_IF_ERROR(store->Load());
  return store;
}

// What cannot be closed now is at the next start.
Store::~Store() { CloseShards().IgnoreError(); }

absl::Status Store::Load() {
  RETURN_IF_ERROR(Repair());
  RETURN_IF_ERROR(LoadShards());
  RETURN_IF_ERROR(Tend());
  return LoadIndex();
}

// What a crash left between two steps.
absl::Status Store::Repair() {
  std::vector<std::string> names;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(ShardsFolder(options_.dir), error)) {
    names.push_back(entry.path().filename().string());
  }
  if (error) return absl::ErrnoToStatus(error.value(), ShardsFolder(options_.dir));
  for (const std::string& name : names) {
    if (absl::EndsWith(name, kOpenEnding)) {
      const std::string closed(absl::StripSuffix(name, kOpenEnding));
      RETURN_IF_ERROR(OpenShard::Recover(options_.dir, closed));
    } else if (OpenedAt(name) == 0) {
      fs::remove_all(ShardFolder(options_.dir, name), error);  // half deleted
    } else {
      RETURN_IF_ERROR(FinishRemoval(ShardFolder(options_.dir, name)));
    }
  }
  return absl::OkStatus();
}

absl::Status Store::LoadShards() {
  closed_.clear();
  ASSIGN_OR_RETURN(const std::vector<std::string> names, ListShards(options_.dir));
  for (const std::string& name : names) {
    const std::string folder = ShardFolder(options_.dir, name);
    ASSIGN_OR_RETURN(std::string tenant, TenantOf(folder));
    closed_[name] = {std::move(tenant), FolderBytes(folder)};
    last_name_ = std::max(last_name_, OpenedAt(name));
  }
  return absl::OkStatus();
}

// The newest shards first, until there are enough rows.
absl::Status Store::LoadIndex() {
  places_.clear();
  order_.clear();
  knows_all_ = true;
  struct Found {
    Digest key;
    std::string shard;
    std::int64_t row;
  };
  std::vector<Found> found;  // the newest first
  for (auto at = closed_.rbegin(); at != closed_.rend() && found.size() < kMaxJudgeable; ++at) {
    std::vector<Found> rows;
    RETURN_IF_ERROR(
        ReadRows(ShardFolder(options_.dir, at->first), [&](absl::string_view line) -> absl::Status {
          ASSIGN_OR_RETURN(const RowHead head, ParseRowHead(line));
          rows.push_back({KeyOf(head.tenant, head.id), at->first, head.number});
          return absl::OkStatus();
        }));
    std::move(rows.rbegin(), rows.rend(), std::back_inserter(found));
    if (found.size() >= kMaxJudgeable) knows_all_ = false;
  }
  for (auto at = found.rbegin(); at != found.rend(); ++at) Remember(at->key, at->shard, at->row);
  return absl::OkStatus();
}

void Store::Remember(const Digest& key, const std::string& shard, std::int64_t row) {
  const std::uint64_t order = arrivals_++;
  places_[key] = {shard, row, order};
  order_.emplace_back(key, order);
  if (order_.size() <= kMaxJudgeable) return;
  knows_all_ = false;
  const auto oldest = places_.find(order_.front().first);
  // A newer answer of the same name stays.
  if (oldest != places_.end() && oldest->second.order == order_.front().second) {
    places_.erase(oldest);
  }
  order_.pop_front();
}

std::int64_t Store::ShareBytes() const {
  return options_.bytes / std::max<std::int64_t>(1, std::ssize(tenants_));
}

std::int64_t Store::MaxShardBytes() const {
  return std::min<std::int64_t>(kMaxShardRowsBytes, ShareBytes() / kShardsAtLeast);
}

std::int64_t Store::bytes() const {
  std::int64_t bytes = 0;
  for (const auto& [tenant, shard] : open_) bytes += shard->bytes();
  for (const auto& [name, shard] : closed_) bytes += shard.bytes;
  return bytes;
}

std::map<std::string, std::int64_t> Store::BytesOfTenants() const {
  std::map<std::string, std::int64_t> bytes;
  for (const auto& [tenant, shard] : open_) bytes[tenant] += shard->bytes();
  for (const auto& [name, shard] : closed_) bytes[shard.tenant] += shard.bytes;
  return bytes;
}

absl::Status Store::SetTenants(std::set<std::string> tenants) {
  if (tenants == tenants_) return absl::OkStatus();
  tenants_ = std::move(tenants);
  return CloseShards();
}

absl::Status Store::Delete(const std::string& name) {
  if (judged_.has_value() && judged_->shard == name) judged_.reset();
  RETURN_IF_ERROR(DeleteShard(options_.dir, name));
  closed_.erase(name);
  return absl::OkStatus();
}

// The open one, where it has no other.
absl::Status Store::DeleteOldestOf(const std::string& tenant) {
  const auto is_of_tenant = [&](const auto& entry) { return entry.second.tenant == tenant; };
  auto oldest = std::find_if(closed_.begin(), closed_.end(), is_of_tenant);
  if (oldest == closed_.end()) {
    RETURN_IF_ERROR(Close(tenant));
    oldest = std::find_if(closed_.begin(), closed_.end(), is_of_tenant);
  }
  return oldest == closed_.end() ? absl::OkStatus() : Delete(std::string(oldest->first));
}

// For so much more of a tenant. While there is too much, somebody has more than its share: the sum
// of all shares is what there may be. Who has nothing on the disk can give nothing.
absl::Status Store::MakeRoom(const std::string& tenant, std::int64_t weight) {
  while (bytes() + weight > options_.bytes) {
    std::map<std::string, std::int64_t> held = BytesOfTenants();
    if (held.empty()) break;
    if (held.contains(tenant)) held[tenant] += weight;
    const auto above = [&](const auto& entry) {
      return entry.second - (tenants_.contains(entry.first) ? ShareBytes() : 0);
    };
    const auto most = std::max_element(held.begin(), held.end(), [&](const auto& a, const auto& b) {
      return above(a) < above(b);
    });
    RETURN_IF_ERROR(DeleteOldestOf(most->first));
  }
  return absl::OkStatus();
}

bool Store::IsOldEnough(const OpenShard& shard) const {
  const auto age = std::chrono::milliseconds(clock_->UnixMillis() - OpenedAt(shard.name()));
  return age >= options_.shard_time;
}

absl::StatusOr<OpenShard*> Store::EnsureOpen(const std::string& tenant, std::int64_t weight) {
  if (const auto found = open_.find(tenant);
      found != open_.end() &&
      (IsOldEnough(*found->second) || found->second->bytes() + weight > MaxShardBytes())) {
    RETURN_IF_ERROR(Close(tenant));
  }
  RETURN_IF_ERROR(MakeRoom(tenant, weight));
  if (const auto found = open_.find(tenant); found != open_.end()) return found->second.get();
  last_name_ = std::max(last_name_ + 1, clock_->UnixMillis());
  // Of as many digits as this century's times have: names sort as numbers do.
  const std::string name = absl::StrCat(absl::Dec(last_name_, absl::kZeroPad13));
  ASSIGN_OR_RETURN(auto shard, OpenShard::Create(options_.dir, name));
  return (open_[tenant] = std::move(shard)).get();
}

absl::Status Store::Add(const Row& row) {
  const std::int64_t weight = WeightOf(row);
  if (weight > MaxShardBytes()) {
    return absl::InvalidArgumentError(
        absl::StrCat("a turn of ", weight, " bytes with its pictures, expected at most ",
                     MaxShardBytes(), ", an eighth of a tenant's share of capture_bytes"));
  }
  ASSIGN_OR_RETURN(OpenShard* const shard, EnsureOpen(row.tenant, weight));
  std::vector<Digest> pictures;
  for (const std::string& picture : row.pictures) pictures.push_back(Sha256Of(picture));
  const std::int64_t number = shard->rows();
  RETURN_IF_ERROR(shard->Append(row, pictures));
  Remember(KeyOf(row.tenant, row.id), shard->name(), number);
  return absl::OkStatus();
}

absl::Status Store::Judge(const std::string& tenant, const std::string& id, Verdict verdict) {
  const auto found = places_.find(KeyOf(tenant, id));
  if (found == places_.end()) return NoSuchAnswer(tenant, id);
  const Place& place = found->second;
  // A correction is the largest thing that a verdict can bring.
  RETURN_IF_ERROR(MakeRoom(tenant, static_cast<std::int64_t>(verdict.correction.size())));
  const std::string folder = FolderOf(place.shard);
  if (folder.empty()) return NoSuchAnswer(tenant, id);
  ASSIGN_OR_RETURN(VerdictFile* const file, VerdictsOf(place.shard));
  if (file->IsRemoved(place.row)) return NoSuchAnswer(tenant, id);
  verdict.time = NowSeconds();
  const std::int64_t before = file->bytes();
  const absl::Status appended = file->Append(place.row, verdict);
  if (!appended.ok()) judged_.reset();
  AddBytes(place.shard, VerdictBytes(folder) - before);
  return appended;
}

// Null: it is not open.
OpenShard* Store::OpenNamed(const std::string& name) const {
  for (const auto& [tenant, shard] : open_) {
    if (shard->name() == name) return shard.get();
  }
  return nullptr;
}

// Empty: the shard has gone.
std::string Store::FolderOf(const std::string& shard) const {
  if (const OpenShard* open = OpenNamed(shard); open != nullptr) return open->folder();
  return closed_.contains(shard) ? ShardFolder(options_.dir, shard) : "";
}

absl::StatusOr<VerdictFile*> Store::VerdictsOf(const std::string& shard) {
  const std::string folder = FolderOf(shard);
  const std::int64_t before = VerdictBytes(folder);
  // Another length: it is another file now, or none.
  if (!judged_.has_value() || judged_->shard != shard || judged_->file.bytes() != before) {
    judged_.reset();
    ASSIGN_OR_RETURN(VerdictFile file, VerdictFile::Open(folder));
    AddBytes(shard, file.bytes() - before);  // half a line may have gone
    judged_ = Judged{shard, std::move(file)};
  }
  return &judged_->file;
}

void Store::AddBytes(const std::string& shard, std::int64_t more) {
  if (OpenShard* open = OpenNamed(shard); open != nullptr) {
    open->AddBytes(more);
  } else {
    closed_.at(shard).bytes += more;
  }
}

absl::StatusOr<Removed> Store::Remove(const std::string& tenant, const std::string& id) {
  if (knows_all_ && !places_.contains(KeyOf(tenant, id))) return NoSuchAnswer(tenant, id);
  RETURN_IF_ERROR(CloseShards());
  judged_.reset();  // files of verdicts are replaced
  absl::StatusOr<Removed> removed = RemoveConversation(options_.dir, tenant, id);
  if (absl::IsNotFound(removed.status())) return removed;
  RETURN_IF_ERROR(LoadShards());
  RETURN_IF_ERROR(LoadIndex());
  return removed;
}

absl::Status Store::Tend() {
  std::vector<std::string> old;
  for (const auto& [tenant, shard] : open_) {
    if (IsOldEnough(*shard)) old.push_back(tenant);
  }
  for (const std::string& tenant : old) RETURN_IF_ERROR(Close(tenant));
  const std::int64_t now = clock_->UnixMillis();
  while (!closed_.empty()) {
    const auto age = std::chrono::milliseconds(now - OpenedAt(closed_.begin()->first));
    if (age <= options_.retention) break;
    RETURN_IF_ERROR(Delete(std::string(closed_.begin()->first)));
  }
  return MakeRoom("", 0);
}

absl::Status Store::Close(std::string tenant) {
  const auto found = open_.find(tenant);
  if (found == open_.end()) return absl::OkStatus();
  judged_.reset();  // its folder gets another name
  const std::unique_ptr<OpenShard> closing = std::move(found->second);
  open_.erase(found);
  const bool has_rows = closing->rows() > 0;
  RETURN_IF_ERROR(closing->Close());
  if (has_rows) closed_[closing->name()] = {std::move(tenant), closing->bytes()};
  return absl::OkStatus();
}

absl::Status Store::CloseShards() {
  absl::Status status;
  while (!open_.empty()) status.Update(Close(open_.begin()->first));
  return status;
}

}  // namespace llava::capture
