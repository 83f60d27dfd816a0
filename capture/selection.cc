#include "capture/selection.h"

#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/field_error.h"
#include "base/file.h"
#include "base/status_macros.h"
#include "capture/closing.h"
#include "capture/row.h"
#include "capture/shard.h"
#include "capture/verdicts.h"

namespace llava::capture {
namespace {

// Whether the row is taken; counts what it is.
bool IsTaken(const RowHead& head, const Verdict& verdict, const Wanted& wanted, Choice* choice) {
  ++choice->of;
  if (verdict.is_removed) {
    ++choice->removed;
    return false;
  }
  if (!verdict.correction.empty()) {
    ++choice->corrected;
    return wanted.corrected;
  }
  bool is_wanted = false;
  switch (verdict.thumb) {
    case Thumb::kUp:
      ++choice->up;
      is_wanted = wanted.up;
      break;
    case Thumb::kDown:
      ++choice->down;
      break;
    case Thumb::kNone:
      ++choice->unrated;
      is_wanted = wanted.unrated;
      break;
  }
  if (!is_wanted) return false;
  if (head.finish == "stop") return true;
  ++choice->cut;
  return false;
}

absl::Status NotAsClosed(const RowsState& found, const RowsState& closed,
                         const std::string& folder) {
  const std::string file = RowsFile(folder);
  if (found.lines == closed.lines && found.bytes == closed.bytes) {
    return absl::DataLossError(absl::StrCat(file, ": has SHA-256 ", found.sha256, ", expected ",
                                            closed.sha256, " as when it was closed"));
  }
  return absl::DataLossError(absl::StrCat(file, ": has ", found.lines, " rows of ", found.bytes,
                                          " bytes, expected the ", closed.lines, " of ",
                                          closed.bytes, " with which it was closed"));
}

// Whether all of a shard can be read and is what was closed. A shard is closed with at least one
// row, and goes with its last.
absl::Status CheckShard(const std::string& folder) {
  RETURN_IF_ERROR(ReadVerdicts(folder).status());
  ASSIGN_OR_RETURN(std::vector<RowsState> closed, ReadClosing(folder));
  while (true) {
    RowsSum sum;
    RETURN_IF_ERROR(ReadRows(folder, [&](absl::string_view line) {
      sum.Take(line);
      return ParseRowHead(line).status();
    }));
    const RowsState found = sum.Finish();
    // One whose last rows are being removed may be empty: its record says so.
    const bool may_be = MayBe(found, closed) && (found.lines > 0 || !closed.empty());
    if (may_be) return absl::OkStatus();
    // Rows that are removed meanwhile have another record before they have gone.
    std::vector<RowsState> before = std::move(closed);
    ASSIGN_OR_RETURN(closed, ReadClosing(folder));
    if (closed != before) continue;
    if (found.lines > 0) return NotAsClosed(found, closed.back(), folder);
    return absl::DataLossError(
        absl::StrCat(RowsFile(folder), ": is empty, expected the rows with which it was closed"));
  }
}

// A shard whose folder has gone meanwhile is not damaged.
bool IsDamage(const absl::Status& status, const std::string& folder) {
  std::error_code ignored;
  return absl::IsDataLoss(status) || absl::IsInvalidArgument(status) ||
         (absl::IsNotFound(status) && std::filesystem::exists(folder, ignored));
}

}  // namespace

absl::StatusOr<Choice> Choose(const std::string& dir, const std::vector<std::string>& names,
                              const Wanted& wanted,
                              const std::function<absl::Status(ChosenRow row)>& on_row) {
  Choice choice;
  for (const std::string& name : names) {
    const std::string folder = ShardFolder(dir, name);
    const absl::Status whole = CheckShard(folder);
    if (IsDamage(whole, folder)) {
      choice.set_aside.push_back({folder, MessageOf(whole)});
      continue;
    }
    RETURN_IF_ERROR(whole);
    ASSIGN_OR_RETURN(Verdicts verdicts, ReadVerdicts(folder));
    std::int64_t taken = 0;
    Sha256 sha;
    RETURN_IF_ERROR(ReadRows(folder, [&](absl::string_view line) -> absl::Status {
      // A shard is whole lines: their bytes are the file's.
      sha.Update({line.data(), line.size()}).Update("\n");
      ASSIGN_OR_RETURN(RowHead head, ParseRowHead(line));
      const Verdict& verdict = verdicts[head.number];
      if (!IsTaken(head, verdict, wanted, &choice)) return absl::OkStatus();
      ChosenRow row{std::string(line), folder, std::move(head.pictures), head.number};
      if (!verdict.correction.empty()) {
        ASSIGN_OR_RETURN(row.line, WithAnswer(line, verdict.correction));
      }
      ++taken;
      return on_row(std::move(row));
    }));
    choice.rows += taken;
    if (taken > 0) choice.shards.push_back({name, sha.Finish(), taken});
  }
  return choice;
}

}  // namespace llava::capture
