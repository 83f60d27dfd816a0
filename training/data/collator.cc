#include "training/data/collator.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace llava::training {

bool Sample::HasLabels() const {
  // The label of position 0 is never a target: nothing stands before it.
  return !labels.empty() && std::any_of(labels.begin() + 1, labels.end(),
                                        [](std::int32_t label) { return label != kIgnoreLabel; });
}

BatchStats& BatchStats::operator+=(const BatchStats& other) {
  samples += other.samples;
  tokens += other.tokens;
  label_tokens += other.label_tokens;
  image_tokens += other.image_tokens;
  truncated += other.truncated;
  masked += other.masked;
  bad += other.bad;
  padding += other.padding;
  return *this;
}

namespace {

void AppendTokens(const Sample& sample, Batch* batch) {
  const std::size_t tokens = sample.ids.size();
  LLAVA_CHECK_EQ(sample.labels.size(), tokens);
  batch->ids.insert(batch->ids.end(), sample.ids.begin(), sample.ids.end());
  for (std::size_t t = 0; t < tokens; ++t) {
    const std::int32_t target = t + 1 < tokens ? sample.labels[t + 1] : kIgnoreLabel;
    batch->targets.push_back(target);
    batch->positions.push_back(static_cast<std::int32_t>(t));
    if (target != kIgnoreLabel) ++batch->stats.label_tokens;
  }
}

void AppendImages(Sample& sample, std::int32_t start, Batch* batch) {
  const auto first = static_cast<std::int32_t>(batch->images.size());
  for (const ImageSpan& span : sample.image_spans) {
    LLAVA_CHECK_LT(static_cast<std::size_t>(span.image), sample.images.size());
    batch->image_spans.push_back({start + span.offset, span.count, first + span.image});
    batch->stats.image_tokens += span.count;
  }
  std::move(sample.images.begin(), sample.images.end(), std::back_inserter(batch->images));
}

}  // namespace

Batch Collate(std::vector<Sample> samples) {
  Batch batch;
  batch.sequence_starts.push_back(0);
  for (Sample& sample : samples) {
    if (sample.truncated_tokens > 0) ++batch.stats.truncated;
    if (!sample.HasLabels()) {
      ++batch.stats.masked;
      continue;
    }
    const std::int32_t start = batch.sequence_starts.back();
    AppendTokens(sample, &batch);
    AppendImages(sample, start, &batch);
    batch.sequence_starts.push_back(static_cast<std::int32_t>(batch.ids.size()));
    batch.sample_ids.push_back(std::move(sample.id));
    ++batch.stats.samples;
  }
  batch.stats.tokens = static_cast<std::int64_t>(batch.ids.size());
  return batch;
}

}  // namespace llava::training
