#include "server/batches/store.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <iterator>
#include <set>
#include <system_error>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/durable_file.h"
#include "base/field_error.h"
#include "base/lines/line_file.h"
#include "base/status_macros.h"
#include "server/chat/request_id.h"

namespace llava::batches {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMaxRecordBytes = std::size_t{1} << 20;
constexpr char kFiles[] = "files";
constexpr char kBatches[] = "batches";
constexpr char kRecord[] = ".json";
constexpr char kData[] = ".data";

absl::Status MakeFolder(const std::string& path) {
  if (mkdir(path.c_str(), 0700) == 0 || errno == EEXIST) return absl::OkStatus();
  return absl::ErrnoToStatus(errno, absl::StrCat("cannot create ", path));
}

absl::StatusOr<std::vector<std::string>> NamesIn(const std::string& folder) {
  std::vector<std::string> names;
  std::error_code error;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    names.push_back(it->path().filename().string());
  }
  if (error) {
    return absl::ErrnoToStatus(error.value(), absl::StrCat("cannot list ", folder));
  }
  return names;
}

// What the disk does is no answer to a client: neither its request nor its file is at fault.
absl::Status AsInternal(const absl::Status& status) {
  return status.ok() ? status : absl::InternalError(status.message());
}

std::int64_t SizeOf(const std::string& path) {
  std::error_code error;
  const auto size = fs::file_size(path, error);
  return error ? 0 : static_cast<std::int64_t>(size);
}

// Whole ones; none of a file that cannot be read.
std::int64_t LinesBehind(const std::string& path, std::int64_t offset) {
  constexpr std::int64_t kPiece = std::int64_t{256} << 10;
  const absl::StatusOr<FileDescriptor> file = OpenRegularFile(path);
  std::int64_t lines = 0;
  while (file.ok()) {
    const auto piece = ReadBytes(*file, path, offset, kPiece);
    if (!piece.ok() || piece->empty()) break;
    lines += std::count(piece->begin(), piece->end(), '\n');
    offset += std::ssize(*piece);
  }
  return lines;
}

}  // namespace

absl::StatusOr<std::unique_ptr<BatchStore>> BatchStore::Open(const Options& options,
                                                             const Clock* clock) {
  RETURN_IF_ERROR(MakeFolder(options.dir));
  RETURN_IF_ERROR(MakeFolder(absl::StrCat(options.dir, "/", kFiles)));
  RETURN_IF_ERROR(MakeFolder(absl::StrCat(options.dir, "/", kBatches)));
  const std::string path = absl::StrCat(options.dir, "/lock");
  FileDescriptor lock(open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
  if (!lock.is_open()) return absl::ErrnoToStatus(errno, absl::StrCat("cannot open ", path));
  if (flock(lock.get(), LOCK_EX | LOCK_NB) != 0) {
    return absl::UnavailableError(absl::StrCat(options.dir, ": another process works there"));
  }
  RETURN_IF_ERROR(SyncFolder(options.dir));
  auto store = std::unique_ptr<BatchStore>(new BatchStore(options, clock, std::move(lock)));
  RETURN_IF_ERROR(store->Load());
  return store;
}

absl::Status BatchStore::Load() {
  RETURN_IF_ERROR(LoadFolder(kBatches));
  RETURN_IF_ERROR(LoadFolder(kFiles));
  RemoveStray();
  for (auto& [id, batch] : batches_) {
    if (HasEnded(batch.state)) continue;
    CountAnswers(&batch);
    for (const std::string& file : {batch.output, batch.failures}) {
      if (!files_.contains(file)) SetGrown(batch, file, SizeOf(DataPath(file)));
    }
  }
  RemoveExpired();
  return absl::OkStatus();
}

// What clients are told before the batch's run has read its answers: its record says how many there
// were when it was written, and what came behind is not much.
void BatchStore::CountAnswers(Batch* batch) const {
  const auto count = [this](const std::string& file, CountedAnswers* counted) {
    const std::string path = DataPath(file);
    if (SizeOf(path) < counted->bytes) *counted = {};
    return counted->answers + LinesBehind(path, counted->bytes);
  };
  batch->completed = count(batch->output, &batch->counted_output);
  batch->failed = count(batch->failures, &batch->counted_failures);
}

absl::Status BatchStore::LoadFolder(const std::string& folder) {
  const std::string path = absl::StrCat(options_.dir, "/", folder);
  ASSIGN_OR_RETURN(const std::vector<std::string> names, NamesIn(path));
  for (const std::string& name : names) {
    if (!absl::EndsWith(name, kRecord)) continue;
    RETURN_IF_ERROR(TakeRecord(absl::StrCat(path, "/", name), folder == kFiles));
  }
  return absl::OkStatus();
}

absl::Status BatchStore::TakeRecord(const std::string& path, bool is_file) {
  ASSIGN_OR_RETURN(const std::string record, ReadFile(path, kMaxRecordBytes));
  const std::string named = fs::path(path).stem().string();
  std::string id;
  if (is_file) {
    ASSIGN_OR_RETURN(File file, FileOfRecord(record, path));
    id = file.id;
    Count(file.tenant, file.bytes, 1);
    files_[id] = std::move(file);
  } else {
    ASSIGN_OR_RETURN(Batch batch, BatchOfRecord(record, path));
    id = batch.id;
    Count(batch.tenant, 0, 1);
    batches_[id] = std::move(batch);
  }
  if (id == named) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(path, ": has the id '", id, "'"));
}

// What a crash left between two steps: bytes without a record, records that were being replaced.
void BatchStore::RemoveStray() {
  std::set<std::string> wanted;
  for (const auto& [id, file] : files_) wanted.insert(id);
  for (const auto& [id, batch] : batches_) {
    if (!HasEnded(batch.state)) wanted.insert({batch.output, batch.failures});
  }
  for (const char* folder : {kFiles, kBatches}) {
    const std::string path = absl::StrCat(options_.dir, "/", folder);
    for (const std::string& name : NamesIn(path).value_or(std::vector<std::string>())) {
      if (absl::EndsWith(name, kRecord)) continue;
      if (absl::EndsWith(name, kData) && wanted.contains(fs::path(name).stem().string())) continue;
      unlink(absl::StrCat(path, "/", name).c_str());
    }
  }
}

std::string BatchStore::DataPath(const std::string& file) const {
  return absl::StrCat(options_.dir, "/", kFiles, "/", file, kData);
}

absl::Status BatchStore::WriteRecord(const std::string& folder, const std::string& id,
                                     const std::string& record) const {
  const std::string path = absl::StrCat(options_.dir, "/", folder, "/", id);
  absl::Status written = WriteFile(path + ".new", record);
  if (written.ok()) written = RenameFile(path + ".new", path + kRecord);
  if (!written.ok()) unlink((path + ".new").c_str());
  return written;
}

std::string BatchStore::NewId(const char* kind) const {
  return absl::StrCat(kind, absl::StrFormat("%012x", clock_->UnixMillis()),
                      api::RequestIdOr("").substr(0, 12));
}

absl::Status BatchStore::CheckRoom(const std::string& tenant, Usage more) const {
  const auto of_tenant = usage_.find(tenant);
  const Usage own = of_tenant == usage_.end() ? Usage() : of_tenant->second;
  const auto check = [](std::int64_t used, std::int64_t wanted, std::int64_t most,
                        const char* what) {
    if (wanted == 0 || used <= most - wanted) return absl::OkStatus();
    return absl::InvalidArgumentError(absl::StrCat("no room for ", wanted, " more ", what, ": ",
                                                   used, " are kept, expected at most ", most,
                                                   "; delete files, or wait until they expire"));
  };
  RETURN_IF_ERROR(
      check(own.bytes, more.bytes, options_.tenant_bytes, "bytes of this tenant's files"));
  RETURN_IF_ERROR(check(total_.bytes, more.bytes, options_.bytes, "bytes of files"));
  RETURN_IF_ERROR(
      check(own.objects, more.objects, kMaxObjectsOfTenant, "of this tenant's files and batches"));
  return check(total_.objects, more.objects, kMaxObjects, "files and batches");
}

void BatchStore::Count(const std::string& tenant, std::int64_t bytes, std::int64_t objects) {
  Usage& own = usage_[tenant];
  for (Usage* usage : {&own, &total_}) {
    usage->bytes += bytes;
    usage->objects += objects;
  }
  if (own.bytes == 0 && own.objects == 0) usage_.erase(tenant);
}

// Bytes without a record: a crash makes a stray of them.
absl::StatusOr<std::string> BatchStore::BeginFile(const std::string& tenant) {
  RETURN_IF_ERROR(CheckRoom(tenant, {.bytes = 0, .objects = 1}));
  std::string id = NewId("file-");
  auto content = OutputFile::Create(DataPath(id));
  if (!content.ok()) return AsInternal(content.status());
  arriving_.emplace(id, Arriving{tenant, *std::move(content)});
  Count(tenant, 0, 1);
  return id;
}

absl::Status BatchStore::AppendFile(const std::string& id, absl::string_view content) {
  Arriving& file = arriving_.at(id);
  const auto more = static_cast<std::int64_t>(content.size());
  RETURN_IF_ERROR(CheckRoom(file.tenant, {.bytes = more, .objects = 0}));
  RETURN_IF_ERROR(AsInternal(file.content.Write({content.data(), content.size()})));
  file.bytes += more;
  Count(file.tenant, more, 0);
  return absl::OkStatus();
}

absl::StatusOr<File> BatchStore::EndFile(const std::string& id, File file, std::int64_t lifetime) {
  Arriving& arrived = arriving_.at(id);
  file.id = id;
  file.tenant = arrived.tenant;
  file.bytes = arrived.bytes;
  file.created = Now();
  file.expires = file.created + (lifetime > 0 ? lifetime : options_.retention);
  absl::Status written = arrived.content.Close();
  if (written.ok()) written = WriteRecord(kFiles, id, ToRecord(file));
  RETURN_IF_ERROR(AsInternal(written));
  arriving_.erase(id);
  files_[id] = file;
  return file;
}

void BatchStore::DropFile(const std::string& id) {
  const auto file = arriving_.find(id);
  if (file == arriving_.end()) return;
  unlink(DataPath(id).c_str());
  Count(file->second.tenant, -file->second.bytes, -1);
  arriving_.erase(file);
}

absl::StatusOr<const File*> BatchStore::FindFile(const std::string& tenant,
                                                 const std::string& id) const {
  const auto found = files_.find(id);
  if (found != files_.end() && found->second.tenant == tenant) return &found->second;
  return absl::NotFoundError(absl::StrCat("there is no file '", Shortened(id), "'"));
}

bool BatchStore::IsRead(const std::string& file) const {
  for (const auto& [id, batch] : batches_) {
    if (batch.input == file && !HasEnded(batch.state)) return true;
  }
  return false;
}

absl::Status BatchStore::DeleteFile(const std::string& tenant, const std::string& id) {
  RETURN_IF_ERROR(FindFile(tenant, id).status());
  if (IsRead(id)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "the file '", id, "' is read by a batch that has not ended: cancel the batch first"));
  }
  RETURN_IF_ERROR(AsInternal(RemoveFile(files_.find(id))));
  return AsInternal(SyncFolder(absl::StrCat(options_.dir, "/", kFiles)));
}

// The record first: bytes without one are removed at the next start.
absl::Status BatchStore::RemoveFile(std::map<std::string, File>::iterator file) {
  const std::string path = absl::StrCat(options_.dir, "/", kFiles, "/", file->first);
  if (unlink((path + kRecord).c_str()) != 0 && errno != ENOENT) {
    return absl::ErrnoToStatus(errno, absl::StrCat("cannot delete ", path, kRecord));
  }
  unlink((path + kData).c_str());
  Count(file->second.tenant, -file->second.bytes, -1);
  files_.erase(file);
  return absl::OkStatus();
}

absl::StatusOr<Batch> BatchStore::AddBatch(Batch batch) {
  RETURN_IF_ERROR(FindFile(batch.tenant, batch.input).status());
  RETURN_IF_ERROR(CheckRoom(batch.tenant, {.bytes = 0, .objects = 1}));
  batch.id = NewId("batch_");
  batch.output = NewId("file-");
  batch.failures = NewId("file-");
  batch.created = Now();
  RETURN_IF_ERROR(AsInternal(WriteRecord(kBatches, batch.id, ToRecord(batch))));
  Count(batch.tenant, 0, 1);
  batches_[batch.id] = batch;
  return batch;
}

absl::StatusOr<const Batch*> BatchStore::FindBatch(const std::string& tenant,
                                                   const std::string& id) const {
  const auto found = batches_.find(id);
  if (found != batches_.end() && found->second.tenant == tenant) return &found->second;
  return absl::NotFoundError(absl::StrCat("there is no batch '", Shortened(id), "'"));
}

Batch* BatchStore::MutableBatch(const std::string& id) { return &batches_.at(id); }

absl::Status BatchStore::SaveBatch(const Batch& batch) const {
  return WriteRecord(kBatches, batch.id, ToRecord(batch));
}

absl::Status BatchStore::Grow(const Batch& batch, const std::string& file, std::int64_t more) {
  RETURN_IF_ERROR(CheckRoom(batch.tenant, {.bytes = more, .objects = 0}));
  growing_[file] += more;
  Count(batch.tenant, more, 0);
  return absl::OkStatus();
}

void BatchStore::SetGrown(const Batch& batch, const std::string& file, std::int64_t bytes) {
  std::int64_t& grown = growing_[file];
  Count(batch.tenant, bytes - grown, 0);
  grown = bytes;
  if (bytes == 0) growing_.erase(file);
}

absl::StatusOr<bool> BatchStore::KeepGrown(const Batch& batch, const std::string& file,
                                           const std::string& name) {
  const std::int64_t bytes = SizeOf(DataPath(file));
  SetGrown(batch, file, 0);
  // Kept before a crash, after which the batch may have gone on: it may be longer now.
  if (const auto before = files_.find(file); before != files_.end()) {
    Count(batch.tenant, -before->second.bytes, -1);
    files_.erase(before);
  }
  if (bytes == 0) {
    unlink(DataPath(file).c_str());
    return false;
  }
  const std::int64_t now = Now();
  const File kept{.id = file,
                  .tenant = batch.tenant,
                  .name = name,
                  .purpose = "batch_output",
                  .bytes = bytes,
                  .created = now,
                  .expires = now + (batch.lifetime > 0 ? batch.lifetime : options_.retention)};
  Count(batch.tenant, bytes, 1);
  files_[file] = kept;
  RETURN_IF_ERROR(WriteRecord(kFiles, file, ToRecord(kept)));
  return true;
}

void BatchStore::RemoveExpired() {
  const std::int64_t now = Now();
  for (auto it = files_.begin(); it != files_.end();) {
    const auto file = it++;
    if (file->second.expires <= now && !IsRead(file->first)) RemoveFile(file).IgnoreError();
  }
  for (auto it = batches_.begin(); it != batches_.end();) {
    const auto batch = it++;
    if (!HasEnded(batch->second.state)) continue;
    const auto ended = batch->second.entered.find(batch->second.state);
    if (ended == batch->second.entered.end() || ended->second + options_.retention > now) continue;
    unlink(absl::StrCat(options_.dir, "/", kBatches, "/", batch->first, kRecord).c_str());
    Count(batch->second.tenant, 0, -1);
    batches_.erase(batch);
  }
}

}  // namespace llava::batches
