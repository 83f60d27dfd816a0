#include "server/scheduling/marks.h"

#include <iterator>

namespace llava::scheduling {
namespace {

constexpr const char* kNames[] = {
    "kBlockEvicted",
    "kPrefixHitAtStart",
    "kPrefixAdopted",
    "kDuplicateBlock",
    "kCopyOnWrite",
    "kForked",
    "kPreemptedForDecode",
    "kPreemptedItself",
    "kPreemptedForClass",
    "kPreemptedPaused",
    "kPreemptedBeforeFork",
    "kResumedFromCache",
    "kHeadBlocked",
    "kHeadBlockedElsewhere",
    "kChunkCutAtImage",
    "kChunkEndsInsideImage",
    "kChunkCutByTime",
    "kImageCutInsideTile",
    "kImageCutBetweenTiles",
    "kOnlyEncoded",
    "kEncoderTaken",
    "kFeatureHit",
    "kFeatureEvicted",
    "kFeatureFull",
    "kRefusedDeadline",
    "kAdmittedIdle",
    "kExpired",
    "kCancelledWaiting",
    "kCancelledRunning",
    "kCancelledUnknown",
    "kFairShareHeldBack",
    "kAged",
    "kStepFailed",
    "kStepOutOfMemory",
    "kOutOfMemoryFatal",
    "kVersionAlternated",
    "kVersionDrained",
    "kStoppedByText",
    "kLengthByContext",
    "kDraftTrue",
    "kDraftFalse",
    "kDraftEnded",
};
static_assert(std::size(kNames) == static_cast<std::size_t>(Mark::kCount));

}  // namespace

const char* MarkName(Mark mark) { return kNames[static_cast<std::size_t>(mark)]; }

}  // namespace llava::scheduling
