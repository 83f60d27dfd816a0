#include "training/objective/conversation_feed.h"

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

}  // namespace

ConversationFeed::ConversationFeed(InstructionDataset dataset,
                                   std::unique_ptr<SampleBuilder> builder,
                                   const SamplerOptions& sampler, const FeedPosition& position)
    : dataset_(std::move(dataset)),
      builder_(std::move(builder)),
      sampler_(dataset_.lengths(), sampler),
      position_(position) {}

absl::StatusOr<InstructionDataset> OpenRows(const StageOptions& stage,
                                            const std::function<void(const RowIssue&)>& on_issue) {
  DatasetOptions options;
  options.images_dir = stage.data.images;
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
  const SamplerOptions sampler{
      stage.batch, stage.data.group_by_length ? Grouping::kLengthAndModality : Grouping::kNone,
      position.seed};
  std::unique_ptr<ConversationFeed> feed(
      new ConversationFeed(std::move(dataset), std::move(builder), sampler, position));
  PrefetcherOptions prefetch;
  prefetch.workers = static_cast<int>(stage.data.workers);
  prefetch.ahead = 2 * prefetch.workers;
  prefetch.on_bad_row = stage.data.stop_on_bad_row ? OnBadRow::kStop : OnBadRow::kSkip;
  prefetch.most_bad = most_bad;
  prefetch.on_bad = std::move(on_bad);
  feed->prefetcher_ = std::make_unique<Prefetcher>(
      feed->dataset_, *feed->builder_,
      [raw = feed.get()](std::int64_t pass) { return std::optional(raw->Rows(pass)); }, prefetch);
  return feed;
}

std::vector<std::int64_t> ConversationFeed::Rows(std::int64_t pass) {
  const std::int64_t step = position_.first_step + pass / position_.passes;
  const std::int64_t part = position_.rank * position_.passes + pass % position_.passes;
  return SplitEvenly(sampler_.Batch(step), dataset_.lengths(),
                     position_.ranks * position_.passes)[static_cast<std::size_t>(part)];
}

}  // namespace llava::training
