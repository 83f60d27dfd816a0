// Rare branches that some simulated run must reach. A null table (the daemon) costs one test.
#ifndef LLAVA_SERVER_SCHEDULING_MARKS_H_
#define LLAVA_SERVER_SCHEDULING_MARKS_H_

#include <array>
#include <cstddef>
#include <cstdint>

namespace llava::scheduling {

enum class Mark : std::uint8_t {
  kBlockEvicted,          // a cached block was taken for something else
  kPrefixHitAtStart,      // a sequence started on cached blocks
  kPrefixAdopted,         // a running prompt took over blocks that another one just computed
  kDuplicateBlock,        // two sequences computed the same block
  kCopyOnWrite,           // a shared block was copied before it was written
  kForked,                // a prompt became several choices
  kPreemptedForDecode,    // blocks ran out under a decode
  kPreemptedItself,       // ... and the decode itself was the least important
  kPreemptedForClass,     // a better priority class took the place of a running sequence
  kPreemptedPaused,       // a slow reader's sequence gave its blocks
  kPreemptedBeforeFork,   // a prompt with pending choices was preempted
  kResumedFromCache,      // a preempted sequence found its own blocks again
  kHeadBlocked,           // the best waiting sequence did not fit
  kHeadBlockedElsewhere,  // ... and held back those of another version
  kChunkCutAtImage,       // a prompt waits for the encoder
  kChunkEndsInsideImage,  // the step's budget ended inside an image
  kChunkCutByTime,        // somebody reads, and the step has no time for more of a prompt
  kImageCutInsideTile,    // ... nor for more layers of a picture's tile
  kImageCutBetweenTiles,  // ... nor for more tiles of a picture
  kOnlyEncoded,           // a step encodes for a prompt and computes none of it
  kEncoderTaken,          // a picture waits for the half-encoded one of a better sequence
  kFeatureHit,            // an image was encoded before
  kFeatureEvicted,        // an encoded image gave way to another
  kFeatureFull,           // pinned images left no room for another
  kRefusedDeadline,       // the deadline could not be met on arrival
  kAdmittedIdle,          // ... and the device was idle, so that it was tried all the same
  kExpired,               // a deadline passed
  kCancelledWaiting,
  kCancelledRunning,
  kCancelledUnknown,   // the cancel came after the end
  kFairShareHeldBack,  // a tenant waited because it was ahead
  kAged,               // a waiting request rose a class
  kStepFailed,
  kStepOutOfMemory,    // the step was cut
  kOutOfMemoryFatal,   // even the smallest step did not fit
  kVersionAlternated,  // two versions took turns
  kVersionDrained,     // a version was removed after its last request
  kStoppedByText,      // a stop string
  kLengthByContext,    // the context was full before max_tokens
  kDraftTrue,          // a drafted token was the one that was sampled
  kDraftFalse,         // ... or was another one
  kDraftEnded,         // an answer ended before the end of its draft
  kCount
};

// "kCopyOnWrite".
const char* MarkName(Mark mark);

class Marks {
 public:
  void Hit(Mark mark) { ++counts_[static_cast<std::size_t>(mark)]; }
  std::uint64_t count(Mark mark) const { return counts_[static_cast<std::size_t>(mark)]; }

 private:
  std::array<std::uint64_t, static_cast<std::size_t>(Mark::kCount)> counts_{};
};

inline void Hit(Marks* marks, Mark mark) {
  if (marks != nullptr) [[unlikely]]
    marks->Hit(mark);
}

}  // namespace llava::scheduling

#endif  // LLAVA_SERVER_SCHEDULING_MARKS_H_
