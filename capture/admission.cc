#include "capture/admission.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "capture/closing.h"
#include "capture/shard.h"
#include "capture/verdicts.h"

namespace llava::capture {
namespace {

constexpr std::size_t kDigits = 32;  // of a digest: nobody gains by two that are alike

}  // namespace

absl::StatusOr<std::vector<std::string>> ShardFiles(const std::string& dir) {
  ASSIGN_OR_RETURN(const std::vector<std::string> names, ListShards(dir));
  std::vector<std::string> files;
  for (const std::string& name : names) {
    const std::string folder = ShardFolder(dir, name);
    files.push_back(RowsFile(folder));
    files.push_back(VerdictsFile(folder));
    files.push_back(ClosingFile(folder));
  }
  return files;
}

absl::StatusOr<std::vector<DamagedShard>> Admit(const std::string& dir, const Wanted& wanted,
                                                AdmittedRows* rows, Sha256* lines) {
  ASSIGN_OR_RETURN(const std::vector<std::string> names, ListShards(dir));
  const auto take = [&](const ChosenRow& row) {
    lines->Update(row.line).Update("\n");
    const std::string digest = Sha256Of(row.line).Hex().substr(0, kDigits);
    (*rows)[row.folder].insert(absl::StrCat(row.number, ":", digest));
    return absl::OkStatus();
  };
  ASSIGN_OR_RETURN(Choice choice, Choose(dir, names, wanted, take));
  for (const std::string& name : names) {
    const std::string folder = ShardFolder(dir, name);
    const auto is_it = [&](const DamagedShard& shard) { return shard.folder == folder; };
    if (std::none_of(choice.set_aside.begin(), choice.set_aside.end(), is_it)) {
      rows->try_emplace(folder);
    }
  }
  return std::move(choice.set_aside);
}

std::int64_t CountRows(const AdmittedRows& rows) {
  std::int64_t count = 0;
  for (const auto& [folder, admitted] : rows) count += std::ssize(admitted);
  return count;
}

std::int64_t ChangedRows(const AdmittedRows& before, const AdmittedRows& now) {
  std::int64_t changed = 0;
  for (const auto& [folder, admitted] : now) {
    const auto found = before.find(folder);
    const std::set<std::string> was =
        found == before.end() ? std::set<std::string>() : found->second;
    std::vector<std::string> other;
    std::set_symmetric_difference(was.begin(), was.end(), admitted.begin(), admitted.end(),
                                  std::back_inserter(other));
    std::set<std::string> numbers;  // a row with another answer is in both
    for (const std::string& row : other) numbers.insert(row.substr(0, row.find(':')));
    changed += std::ssize(numbers);
  }
  return changed;
}

}  // namespace llava::capture
