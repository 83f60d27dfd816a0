#include "training/data/holdout.h"

#include <algorithm>
#include <filesystem>
#include <numeric>
#include <string>
#include <unordered_map>

#include "absl/strings/str_cat.h"
#include "base/rng.h"
#include "base/status_macros.h"

namespace llava::training {
namespace {

// Rows that belong together, as a forest: each points towards the first row of its group.
class Groups {
 public:
  explicit Groups(std::int64_t rows) : parent_(static_cast<std::size_t>(rows)) {
    std::iota(parent_.begin(), parent_.end(), 0);
  }

  std::int64_t FirstOf(std::int64_t row) {
    while (Parent(row) != row) row = Parent(row) = Parent(Parent(row));
    return row;
  }

  void Join(std::int64_t a, std::int64_t b) {
    a = FirstOf(a);
    b = FirstOf(b);
    Parent(std::max(a, b)) = std::min(a, b);
  }

 private:
  std::int64_t& Parent(std::int64_t row) { return parent_[static_cast<std::size_t>(row)]; }

  std::vector<std::int64_t> parent_;
};

// What ties a row to others: its pictures, or its text.
std::vector<std::string> TiesOf(const Row& row) {
  std::vector<std::string> ties;
  for (const std::string& image : row.images) {
    ties.push_back(
        absl::StrCat("picture ", std::filesystem::path(image).lexically_normal().string()));
  }
  if (!ties.empty()) return ties;
  std::string text = "text";
  for (const Turn& turn : row.turns) absl::StrAppend(&text, " ", turn.text.size(), " ", turn.text);
  return {text};
}

absl::StatusOr<Groups> FindGroups(const InstructionDataset& dataset) {
  Groups groups(dataset.size());
  std::unordered_map<std::string, std::int64_t> first;  // row with the tie
  for (std::int64_t i = 0; i < dataset.size(); ++i) {
    ASSIGN_OR_RETURN(const Row row, dataset.Read(i));
    for (std::string& tie : TiesOf(row)) {
      const auto [found, is_new] = first.emplace(std::move(tie), i);
      if (!is_new) groups.Join(found->second, i);
    }
  }
  return groups;
}

}  // namespace

absl::StatusOr<HoldOut> HoldOutRows(const InstructionDataset& dataset, std::int64_t rows,
                                    std::uint64_t seed) {
  HoldOut split;
  split.train.resize(static_cast<std::size_t>(dataset.size()));
  std::iota(split.train.begin(), split.train.end(), 0);
  if (rows == 0) return split;
  ASSIGN_OR_RETURN(Groups groups, FindGroups(dataset));
  std::vector<std::int64_t> sizes(split.train.size(), 0);
  for (const std::int64_t row : split.train) ++sizes[groups.FirstOf(row)];
  std::vector<std::int64_t> order = split.train;
  std::erase_if(order, [&](std::int64_t row) { return sizes[row] == 0; });
  Rng(seed).Shuffle(order);
  std::vector<bool> held(sizes.size(), false);
  std::int64_t room = std::min(rows, dataset.size() - 1);
  for (const std::int64_t group : order) {
    if (sizes[group] > room) continue;
    held[group] = true;
    room -= sizes[group];
  }
  const auto is_held = [&](std::int64_t row) { return held[groups.FirstOf(row)]; };
  std::copy_if(split.train.begin(), split.train.end(), std::back_inserter(split.held_out), is_held);
  std::erase_if(split.train, is_held);
  if (split.held_out.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("validate: of ", dataset.size(), " rows none can be held back within ", rows,
                     " rows: all share their pictures with more rows than that, or too few are "
                     "left to train with; expected a larger share, or a file"));
  }
  return split;
}

}  // namespace llava::training
