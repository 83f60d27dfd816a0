#include "training/objective/packed_batch.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <span>

#include "base/check.h"
#include "base/digest.h"
#include "model/attention/sdpa_attention.h"
#include "model/attention/to_device.h"
#include "training/objective/tree_attention.h"

namespace llava::training {
namespace {

class Packer {
 public:
  Packer(const Batch& batch, at::Device device) : batch_(batch), device_(device) {}

  PackedBatch Run() {
    const std::size_t samples = batch_.sequence_starts.size() - 1;
    for (std::size_t s = 0; s < samples; ++s) AddSample(s);
    PackedBatch packed;
    packed.ids_T = model::ToDevice(ids_, device_);
    packed.positions_T = model::ToDevice(positions_, device_);
    packed.runs = std::move(runs_);
    packed.label_rows_R = model::ToDevice(label_rows_, device_);
    packed.targets_R = model::ToDevice(targets_, device_);
    packed.image_rows_P = model::ToDevice(image_rows_, device_);
    packed.feature_rows_P = model::ToDevice(feature_rows_, device_);
    packed.images_I = std::move(images_);
    if (lengths_.size() == samples) {
      packed.attention = std::make_unique<model::SdpaAttention>(lengths_);
    } else {
      packed.attention = std::make_unique<TreeAttention>(lengths_, branches_, device_);
      packed.padding = std::ssize(lengths_) * *std::max_element(lengths_.begin(), lengths_.end()) -
                       std::ssize(ids_);
    }
    return packed;
  }

 private:
  // How many tokens sample `s` shares with the group before it: all up to the end of its only
  // image, when they are the same there and none of them has a target.
  std::int32_t SharedLength(std::size_t s) const {
    const std::vector<ImageSpan> spans = SpansOf(s);
    if (s == 0 || spans.size() != 1 || group_spans_.size() != 1) return 0;
    const ImageSpan& mine = spans.front();
    const ImageSpan& theirs = group_spans_.front();
    const std::int32_t start = batch_.sequence_starts[s];
    const std::int32_t length = mine.offset + mine.count - start;
    const bool alike = theirs.offset + theirs.count - group_start_ == length &&
                       batch_.images[mine.image].digest == batch_.images[theirs.image].digest;
    if (!alike) return 0;
    for (std::int32_t i = 0; i < length; ++i) {
      if (batch_.ids[start + i] != batch_.ids[group_start_ + i]) return 0;
      if (batch_.targets[start + i] != kIgnoreLabel) return 0;
      if (batch_.targets[group_start_ + i] != kIgnoreLabel) return 0;
    }
    return length;
  }

  std::vector<ImageSpan> SpansOf(std::size_t s) const {
    std::vector<ImageSpan> spans;
    for (const ImageSpan& span : batch_.image_spans) {
      if (span.offset >= batch_.sequence_starts[s] && span.offset < batch_.sequence_starts[s + 1]) {
        spans.push_back(span);
      }
    }
    return spans;
  }

  void AddSample(std::size_t s) {
    const std::int32_t shared = SharedLength(s);
    const std::int32_t start = batch_.sequence_starts[s];
    const std::int32_t end = batch_.sequence_starts[s + 1];
    if (shared == 0) {
      group_start_ = start;
      group_spans_ = SpansOf(s);
      group_shared_end_ =
          group_spans_.size() == 1 ? group_spans_[0].offset + group_spans_[0].count : end;
      branch_ = 0;
      lengths_.push_back(0);
      for (const ImageSpan& span : group_spans_) AddImage(span, start);
    }
    ++branch_;
    for (std::int32_t t = start + shared; t < end; ++t) {
      const bool beginning = shared == 0 && t < group_shared_end_;
      branches_.push_back(beginning ? 0 : branch_);
      if (batch_.targets[t] != kIgnoreLabel) {
        label_rows_.push_back(static_cast<std::int64_t>(ids_.size()));
        targets_.push_back(batch_.targets[t]);
      }
      ids_.push_back(batch_.ids[t]);
      positions_.push_back(batch_.positions[t]);
      ++lengths_.back();
    }
    runs_.push_back({KeyOf(s), shared, end - start - shared, end - start});
  }

  std::uint64_t KeyOf(std::size_t s) const {
    const std::int32_t start = batch_.sequence_starts[s];
    const std::span<const std::int32_t> ids(batch_.ids.data() + start,
                                            batch_.ids.data() + batch_.sequence_starts[s + 1]);
    const auto bytes = std::as_bytes(ids);
    Sha256 sha;
    sha.Update(batch_.sample_ids[s]);
    const Digest digest =
        sha.Update({reinterpret_cast<const char*>(bytes.data()), bytes.size()}).Finish();
    std::uint64_t key = 0;
    std::memcpy(&key, digest.bytes.data(), sizeof(key));
    return key;
  }

  void AddImage(const ImageSpan& span, std::int32_t sample_start) {
    const SampleImage& image = batch_.images[span.image];
    const auto [place, is_new] = rows_of_image_.try_emplace(image.digest, next_feature_row_);
    if (is_new) {
      images_.push_back(span.image);
      next_feature_row_ += image.layout.tokens;
    }
    const auto first = static_cast<std::int64_t>(ids_.size()) + span.offset - sample_start;
    for (std::int32_t i = 0; i < span.count; ++i) {
      image_rows_.push_back(first + i);
      feature_rows_.push_back(place->second + i);
    }
  }

  const Batch& batch_;
  const at::Device device_;
  std::vector<std::int64_t> ids_, positions_, label_rows_, targets_, image_rows_, feature_rows_;
  std::vector<SampleRun> runs_;
  std::vector<std::int64_t> lengths_;   // of groups
  std::vector<std::int32_t> branches_;  // one a token
  std::vector<std::int32_t> images_;
  std::map<Digest, std::int64_t> rows_of_image_;  // the first of its rows among the features
  std::int64_t next_feature_row_ = 0;
  std::int32_t group_start_ = 0;  // in the batch, of the group's first sample
  std::int32_t group_shared_end_ = 0;
  std::vector<ImageSpan> group_spans_;
  std::int32_t branch_ = 0;
};

}  // namespace

PackedBatch Pack(const Batch& batch, at::Device device) {
  LLAVA_CHECK(!batch.empty());
  return Packer(batch, device).Run();
}

}  // namespace llava::training
