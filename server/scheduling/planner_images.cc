// The planner's side of images: which of them a step encodes, and how far.
#include <algorithm>

#include "base/check.h"
#include "server/scheduling/step_clock.h"

namespace llava::scheduling {
namespace {

// The next slice of a picture that takes at most `parts` parts: the rest of a tile that is begun,
// else whole tiles, else the beginning of one.
EncodeSlice NextSlice(const EncodeProgress& done, int tiles, int of, std::int64_t parts) {
  EncodeSlice slice{.first_tile = done.tiles, .tiles = 1, .first_part = done.parts, .of = of};
  if (done.parts == 0 && parts >= of) {
    slice.tiles = static_cast<int>(std::min<std::int64_t>(parts / of, tiles - done.tiles));
  }
  slice.parts = static_cast<int>(std::min<std::int64_t>(parts, of - done.parts));
  return slice;
}

EncodeProgress After(const EncodeSlice& slice) {
  const int parts = slice.first_part + slice.parts;
  if (parts < slice.of) return {.tiles = slice.first_tile, .parts = parts};
  return {.tiles = slice.first_tile + slice.tiles, .parts = 0};
}

}  // namespace

// The longest part of the next `count` tokens whose images are encoded, or will be by this step.
int Planner::FitImages(Step& step, Sequence& sequence, int count) {
  const std::vector<ImageInput>& images = sequence.request->spec->images;
  for (int i = 0; i < static_cast<int>(images.size()); ++i) {
    const ImageInput& image = images[static_cast<std::size_t>(i)];
    if (image.offset + image.count <= sequence.computed) continue;
    if (image.offset >= sequence.computed + count) break;
    const std::size_t encodes = step.plan->encodes.size();
    if (!EnsureFeature(step, sequence, i)) {
      Hit(marks_, Mark::kChunkCutAtImage);
      return std::max(0, image.offset - sequence.computed);
    }
    if (step.plan->encodes.size() > encodes) {
      count = std::min(count, step.time.Tokens(sequence.computed));
    }
    if (image.offset + image.count > sequence.computed + count) {
      Hit(marks_, Mark::kChunkEndsInsideImage);
    }
  }
  return count;
}

// Whether the feature is there, or will be by this step, which may encode some of it.
bool Planner::EnsureFeature(Step& step, Sequence& sequence, int image) {
  for (const Pin& pin : sequence.pins) {
    if (pin.image == image) return Encode(step, sequence, pin);
  }
  RequestState& request = *sequence.request;
  const ImageInput& input = request.spec->images[static_cast<std::size_t>(image)];
  const FeatureKey key{request.spec->version, request.spec->cache_domain, input.digest};
  if (const auto feature = features_.Pin(key)) {
    Hit(marks_, Mark::kFeatureHit);
    ++counters_.images_needed;
    sequence.pins.push_back({image, *feature});
    return true;
  }
  if (!MayBegin(step, sequence, input) || features_.IsUnfinished(key)) return false;
  const std::uint64_t evictions = features_.evictions();
  const auto feature = features_.Insert(key, options_.feature_bytes_per_token * input.count);
  if (features_.evictions() > evictions) Hit(marks_, Mark::kFeatureEvicted);
  if (!feature) {
    Hit(marks_, Mark::kFeatureFull);
    return false;
  }
  ++counters_.images_needed;
  ++counters_.images_encoded;
  ++request.usage.images_encoded;
  sequence.pins.push_back({image, *feature});
  features_.SetProgress(*feature, EncodeProgress{});
  encoding_.push_back({*feature, &sequence});
  return Encode(step, sequence, sequence.pins.back());
}

// Parts of the vision tower that the step has time for, for an image of the sequence.
std::int64_t Planner::PartsFor(Step& step, const Sequence& sequence, const ImageInput& image) {
  if (step.images_left == 0) return 0;
  return step.time.Parts(sequence.computed, std::max(0, image.offset - sequence.computed));
}

// A picture that takes several steps is begun when all that are half encoded belong to sequences
// that are worse in rank: so they are few, and nobody waits for the picture of a worse one.
bool Planner::MayBegin(Step& step, const Sequence& sequence, const ImageInput& image) {
  const std::int64_t parts = PartsFor(step, sequence, image);
  if (parts == 0) return false;
  if (parts / options_.encoder_parts >= image.tiles) return true;
  if (encoding_.size() >= kMaxUnfinishedImages) return false;
  const bool worse = std::all_of(encoding_.begin(), encoding_.end(), [&](const Encoding& other) {
    return RunsBefore(sequence, *other.sequence);
  });
  if (!worse) Hit(marks_, Mark::kEncoderTaken);
  return worse;
}

// As much of a half-encoded image as the step has time for; true when that is all of the rest.
bool Planner::Encode(Step& step, const Sequence& sequence, const Pin& pin) {
  std::optional<EncodeProgress> progress = features_.progress(pin.feature);
  if (!progress.has_value()) return true;
  const ImageInput& image = sequence.request->spec->images[static_cast<std::size_t>(pin.image)];
  std::int64_t left = PartsFor(step, sequence, image);
  while (left > 0 && progress->tiles < image.tiles) {
    const EncodeSlice slice = NextSlice(*progress, image.tiles, options_.encoder_parts, left);
    step.plan->encodes.push_back({pin.feature, &image, slice});
    step.time.Encodes(slice.work());
    step.images_left -= std::min(step.images_left, slice.tiles);
    left -= slice.work();
    progress = After(slice);
  }
  const bool whole = progress->tiles == image.tiles;
  features_.SetProgress(pin.feature, whole ? std::nullopt : progress);
  if (whole) ForgetEncoding(pin.feature);
  if (!whole && progress->parts > 0) Hit(marks_, Mark::kImageCutInsideTile);
  if (!whole && progress->tiles > 0) Hit(marks_, Mark::kImageCutBetweenTiles);
  return whole;
}

void Planner::ForgetEncoding(FeatureId feature) {
  std::erase_if(encoding_, [&](const Encoding& one) { return one.feature == feature; });
}

void Planner::AddImageRows(Step& step, const Sequence& sequence, int count) {
  const std::vector<ImageInput>& images = sequence.request->spec->images;
  for (const Pin& pin : sequence.pins) {
    const ImageInput& image = images[static_cast<std::size_t>(pin.image)];
    const int from = std::max(image.offset, sequence.computed);
    const int to = std::min(image.offset + image.count, sequence.computed + count);
    if (from >= to) continue;
    step.plan->image_rows.push_back({step.plan->total_tokens + from - sequence.computed,
                                     pin.feature, from - image.offset, to - from});
  }
}

void Planner::ReleasePassedPins(Sequence& sequence) {
  if (sequence.pins.empty()) return;
  const std::vector<ImageInput>& images = sequence.request->spec->images;
  std::erase_if(sequence.pins, [&](const Pin& pin) {
    const ImageInput& image = images[static_cast<std::size_t>(pin.image)];
    if (image.offset + image.count > sequence.computed) return false;
    Unpin(pin);
    return true;
  });
}

void Planner::ReleasePins(Sequence& sequence) {
  for (const Pin& pin : sequence.pins) Unpin(pin);
  sequence.pins.clear();
}

// What is half encoded is dropped with its only pin.
void Planner::Unpin(const Pin& pin) {
  if (!encoding_.empty()) ForgetEncoding(pin.feature);
  features_.Unpin(pin.feature);
}

}  // namespace llava::scheduling
