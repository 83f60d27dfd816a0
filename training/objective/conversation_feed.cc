#include "training/objective/conversation_feed.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace llava::training {
namespace {

// So many rows may be bad.
std::int64_t MostBad(const StageOptions& stage, const InstructionDataset& dataset) {
  const auto rows = static_cast<double>(dataset.size() + dataset.bad_rows());
  return static_cast<std::int64_t>(stage.data.max_bad_share * rows);
}

// A number of rows, other than a share, is chosen for data of another size.
std::int64_t MostHeldBack(const InstructionDataset& dataset) {
  return std::max<std::int64_t>(1, dataset.size() / 2);
}

// So many rows are held back at most.
std::int64_t HeldBack(const ValidateOptions& validate, const InstructionDataset& dataset) {
  if (!validate.wanted() || !validate.file.empty()) return 0;
  if (validate.rows > 0) return std::min(validate.rows, MostHeldBack(dataset));
  const double rows = validate.share * static_cast<double>(dataset.size());
  return std::max<std::int64_t>(1, std::llround(rows));
}

std::vector<std::int32_t> LengthsOf(const InstructionDataset& dataset,
                                    const std::vector<std::int64_t>& rows) {
  std::vector<std::int32_t> lengths;
  lengths.reserve(rows.size());
  for (const std::int64_t row : rows) lengths.push_back(dataset.lengths()[row]);
  return lengths;
}

// How often the rows of each file come, where the recipe weighs them.
std::vector<RowShare> SharesOf(const std::vector<double>& weights,
                               const InstructionDataset& dataset,
                               const std::vector<std::int64_t>& rows) {
  std::vector<RowShare> shares;
  std::int64_t begin = 0;
  for (std::size_t file = 0; file < weights.size(); ++file) {
    std::int64_t end = begin;
    while (end < std::ssize(rows) && dataset.FileOf(rows[end]) == file) ++end;
    if (end == begin) continue;  // no good row in it
    const double count = weights[file] * static_cast<double>(end - begin);
    shares.push_back({end, std::max<std::int64_t>(1, std::llround(count))});
    begin = end;
  }
  return shares;
}

}  // namespace

ConversationFeed::ConversationFeed(InstructionDataset dataset, HoldOut split,
                                   std::unique_ptr<SampleBuilder> builder,
                                   const SamplerOptions& sampler, const FeedPosition& position)
    : dataset_(std::make_shared<const InstructionDataset>(std::move(dataset))),
      builder_(std::move(builder)),
      split_(std::move(split)),
      lengths_(LengthsOf(*dataset_, split_.train)),
      sampler_(lengths_, sampler),
      position_(position) {}

absl::StatusOr<InstructionDataset> OpenRows(const StageOptions& stage,
                                            const std::function<void(const RowIssue&)>& on_issue) {
  DatasetOptions options;
  options.images_dir = stage.data.images;
  options.file_images = stage.data.file_images;
  options.on_bad_row = stage.data.stop_on_bad_row ? OnBadRow::kStop : OnBadRow::kSkip;
  options.on_issue = on_issue;
  ASSIGN_OR_RETURN(InstructionDataset dataset, InstructionDataset::Open(stage.data.files, options));
  if (dataset.bad_rows() > MostBad(stage, dataset)) {
    return absl::InvalidArgumentError(
        absl::StrCat(dataset.bad_rows(), " of ", dataset.bad_rows() + dataset.size(),
                     " rows are bad, more than max_bad_share ", stage.data.max_bad_share,
                     " allows: llava-train check lists them"));
  }
  return dataset;
}

absl::StatusOr<std::unique_ptr<ConversationFeed>> ConversationFeed::Open(
    const StageOptions& stage, std::unique_ptr<SampleBuilder> builder, const FeedPosition& position,
    std::function<void(const std::string&)> on_bad) {
  std::set<std::string> pictures;  // that were named: a picture may stand in many rows
  const auto on_issue = [&](const RowIssue& issue) {
    // Every rank reads all rows: one of them says what is wrong.
    if (position.rank != 0) return;
    if (issue.field == "image" && !pictures.insert(issue.why).second) return;
    on_bad(issue.ToString());
  };
  absl::StatusOr<InstructionDataset> opened = OpenRows(stage, on_issue);
  if (!opened.ok()) return Annotate(opened.status(), absl::StrCat("stage ", stage.name));
  InstructionDataset dataset = *std::move(opened);
  const std::int64_t most_bad = MostBad(stage, dataset) - dataset.bad_rows();
  if (position.rank == 0 && dataset.bad_rows() > 0) {
    on_bad(absl::StrCat("stage ", stage.name, ": ", dataset.bad_rows(), " of ",
                        dataset.size() + dataset.bad_rows(), " rows are bad and left out"));
  }
  if (position.rank == 0 && stage.validate.rows > MostHeldBack(dataset)) {
    on_bad(absl::StrCat("stage ", stage.name, ": validate.rows is ", stage.validate.rows, ", of ",
                        dataset.size(), " rows in all: not more than half of them are held back"));
  }
  ASSIGN_OR_RETURN(HoldOut split,
                   HoldOutRows(dataset, HeldBack(stage.validate, dataset), position.seed));
  const SamplerOptions sampler{
      stage.batch, stage.data.group_by_length ? Grouping::kLengthAndModality : Grouping::kNone,
      position.seed, SharesOf(stage.data.weights, dataset, split.train)};
  std::unique_ptr<ConversationFeed> feed(new ConversationFeed(
      std::move(dataset), std::move(split), std::move(builder), sampler, position));
  PrefetcherOptions prefetch;
  prefetch.workers = static_cast<int>(stage.data.workers);
  prefetch.ahead = 2 * prefetch.workers;
  prefetch.on_bad_row = stage.data.stop_on_bad_row ? OnBadRow::kStop : OnBadRow::kSkip;
  prefetch.most_bad = most_bad;
  prefetch.on_bad = std::move(on_bad);
  feed->prefetcher_ = std::make_unique<Prefetcher>(
      *feed->dataset_, *feed->builder_,
      [raw = feed.get()](std::int64_t pass) { return std::optional(raw->Rows(pass)); }, prefetch);
  return feed;
}

std::vector<std::int64_t> ConversationFeed::Rows(std::int64_t pass) {
  const std::int64_t step = position_.first_step + pass / position_.passes;
  const std::int64_t part = position_.rank * position_.passes + pass % position_.passes;
  std::vector<std::int64_t> rows =
      SplitEvenly(sampler_.Batch(step), lengths_,
                  position_.ranks * position_.passes)[static_cast<std::size_t>(part)];
  for (std::int64_t& row : rows) row = split_.train[static_cast<std::size_t>(row)];
  return rows;
}

}  // namespace llava::training
