#include "capture/removal.h"

#include <set>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/field_error.h"
#include "base/status_macros.h"
#include "capture/row.h"
#include "capture/shard.h"
#include "capture/trainings.h"
#include "capture/verdicts.h"

namespace llava::capture {
namespace {

using Conversations = std::set<std::string>;

// The conversations that answers of this name belong to: a client may use a name twice.
absl::StatusOr<Conversations> Find(const std::string& dir, const std::vector<std::string>& shards,
                                   const std::string& tenant, const std::string& id) {
  Conversations found;
  for (const std::string& shard : shards) {
    RETURN_IF_ERROR(ReadRows(ShardFolder(dir, shard), [&](absl::string_view line) -> absl::Status {
      if (!absl::StrContains(line, id)) return absl::OkStatus();
      ASSIGN_OR_RETURN(const RowHead head, ParseRowHead(line));
      if (head.id == id && head.tenant == tenant) found.insert(head.conversation);
      return absl::OkStatus();
    }));
  }
  return found;
}

bool IsOf(const Conversations& conversations, absl::string_view line) {
  for (const std::string& conversation : conversations) {
    // Few lines have the digest, and it may stand in what somebody said.
    if (!absl::StrContains(line, conversation)) continue;
    const auto head = ParseRowHead(line);
    if (head.ok() && conversations.contains(head->conversation)) return true;
  }
  return false;
}

struct Taken {
  std::set<std::string> runs;
  std::set<std::string> versions;
};

Taken TakenBy(const std::vector<Training>& trainings, const std::string& shard) {
  Taken taken;
  for (const Training& training : trainings) {
    for (const std::string& name : training.shards) {
      if (name != shard) continue;
      taken.runs.insert(training.run);
      taken.versions.insert(training.versions.begin(), training.versions.end());
    }
  }
  return taken;
}

// Returns how many rows were marked.
absl::StatusOr<std::int64_t> Mark(const std::string& folder, const Conversations& conversations,
                                  const std::set<std::string>& versions) {
  std::set<std::int64_t> rows;
  RETURN_IF_ERROR(ReadRows(folder, [&](absl::string_view line) -> absl::Status {
    if (!IsOf(conversations, line)) return absl::OkStatus();
    ASSIGN_OR_RETURN(const RowHead head, ParseRowHead(line));
    rows.insert(head.number);
    return absl::OkStatus();
  }));
  if (rows.empty()) return 0;
  ASSIGN_OR_RETURN(Verdicts verdicts, ReadVerdicts(folder));
  for (const std::int64_t row : rows) {
    // The mark says nothing of what was said: a correction would be content, too.
    Verdict mark;
    mark.is_removed = true;
    mark.versions.assign(versions.begin(), versions.end());
    verdicts[row] = std::move(mark);
  }
  RETURN_IF_ERROR(WriteVerdicts(verdicts, folder));
  return std::ssize(rows);
}

}  // namespace

absl::Status NoSuchAnswer(const std::string& tenant, const std::string& id) {
  return WithField(absl::NotFoundError(
                       absl::StrCat("no answer '", id, "' of the tenant '", tenant, "' is kept")),
                   "id");
}

absl::StatusOr<Removed> RemoveConversation(const std::string& dir, const std::string& tenant,
                                           const std::string& id) {
  ASSIGN_OR_RETURN(const std::vector<std::string> shards, ListShards(dir));
  ASSIGN_OR_RETURN(const Conversations conversations, Find(dir, shards, tenant, id));
  if (conversations.empty()) return NoSuchAnswer(tenant, id);
  ASSIGN_OR_RETURN(const TrainingsLock lock, TrainingsLock::Take(dir));
  ASSIGN_OR_RETURN(const std::vector<Training> trainings, ReadTrainings(dir));
  Removed removed;
  Taken all;
  for (const std::string& shard : shards) {
    const std::string folder = ShardFolder(dir, shard);
    const Taken taken = TakenBy(trainings, shard);
    if (taken.runs.empty()) {
      const auto is_unwanted = [&](absl::string_view line) { return IsOf(conversations, line); };
      ASSIGN_OR_RETURN(const std::int64_t deleted, RemoveRows(folder, is_unwanted));
      removed.deleted += deleted;
      continue;
    }
    ASSIGN_OR_RETURN(const std::int64_t kept, Mark(folder, conversations, taken.versions));
    removed.kept += kept;
    if (kept == 0) continue;
    all.runs.insert(taken.runs.begin(), taken.runs.end());
    all.versions.insert(taken.versions.begin(), taken.versions.end());
  }
  removed.versions.assign(all.versions.begin(), all.versions.end());
  removed.runs.assign(all.runs.begin(), all.runs.end());
  return removed;
}

}  // namespace llava::capture
