// The scheduler's record of a request and of each of its choices.
#ifndef LLAVA_SERVER_SCHEDULING_SEQUENCE_H_
#define LLAVA_SERVER_SCHEDULING_SEQUENCE_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <tuple>
#include <vector>

#include "base/clock.h"
#include "base/digest.h"
#include "base/sampled_token.h"
#include "server/scheduling/drafts.h"
#include "server/scheduling/fair_share.h"
#include "server/scheduling/request.h"

namespace llava::scheduling {

//   kPending ──► kRunning ◄──► kWaiting        kPending: choices 1..n-1, until the prompt is
//   computed
//                   │             │           kWaiting: holds nothing; new or preempted
//                   └─► kFinished ◄┘          kRunning: holds blocks
enum class SequenceState : std::uint8_t { kPending, kWaiting, kRunning, kFinished };

bool IsLegalTransition(SequenceState from, SequenceState to);

struct RequestState;

inline constexpr std::size_t kCacheLine = 64;

// An encoded image that this sequence holds until it has used it.
struct Pin {
  int image = 0;  // index in Request::images
  FeatureId feature;
};

// One choice of a request. Engine thread only; owned by its RequestState.
// Invariants: computed < size() unless finished; keys and values of [0, computed) are in `blocks`;
// not running <=> blocks and pins are empty; drafts only while a step with them runs.
struct alignas(kCacheLine) Sequence {
  // What every step touches comes first, in two cache lines: a tick is as fast as memory.
  RequestState* request = nullptr;
  std::vector<std::int32_t> tokens;  // prompt, then output, then drafts
  int prompt_tokens = 0;
  int computed = 0;        // tokens whose keys and values exist
  int writable_until = 0;  // slots [computed, writable_until) are known to be this sequence's own
  int registered = 0;      // blocks offered to the prefix index
  int choice = 0;
  int rank_class = 0;  // effective priority class when it started; orders the running ones
  SequenceState state = SequenceState::kWaiting;
  bool in_step = false;  // part of the step being planned or run
  int drafts = 0;        // tokens at the end that are only guessed

  std::vector<BlockId> blocks;  // block table
  SequenceId id;
  std::uint64_t seed = 0;
  std::vector<Digest> names;  // of the first full blocks, as far as they were needed

  std::vector<Pin> pins;

  // How often the first token that was looked up came true lately, and the one that was looked up
  // for the step that runs.
  float draft_hits = 0.5f;
  std::int32_t foreseen = kNotSampled;
  DraftIndex said;  // empty until a draft is looked up

  void SetState(SequenceState next);
  void DropDrafts() {
    tokens.resize(tokens.size() - static_cast<std::size_t>(drafts));
    drafts = 0;
  }
  int size() const { return static_cast<int>(tokens.size()) - drafts; }
  int remaining() const { return size() - computed; }
  int outputs() const { return size() - prompt_tokens; }
  bool is_decode() const { return remaining() == 1 && outputs() > 0; }
};
static_assert(offsetof(Sequence, pins) == 2 * kCacheLine);

// Which tokens end an answer: IsEndToken of one request, without a look at the request itself.
class EndTokens {
 public:
  EndTokens() = default;
  explicit EndTokens(const Request& request);

  // REQUIRES: `request` is the one it was made from.
  bool Contain(const Request& request, std::int32_t token, int index) const {
    if (count_ > kFew) return IsEndToken(request, token, index);
    if (index < from_index_) return false;
    for (int i = 0; i < count_; ++i) {
      if (ids_[static_cast<std::size_t>(i)] == token) return true;
    }
    return false;
  }

 private:
  static constexpr int kFew = 2;

  std::array<std::int32_t, kFew> ids_{};
  int count_ = 0;  // of all; above kFew they are not in ids_
  int from_index_ = 0;
};

// Engine thread only; owned by the scheduler, at a stable address.
struct alignas(kCacheLine) RequestState {
  // What every step touches comes first, in one cache line.
  std::unique_ptr<Request> spec;  // as it arrived
  RequestId id;
  Tenant* tenant = nullptr;
  EndTokens ends;
  int version = 0;      // index in the scheduler's version table
  int max_outputs = 0;  // of each choice: max_tokens, or what the context leaves
  int unfinished = 0;   // choices
  int pending = 0;      // choices
  bool paused = false;  // its reader is slow
  bool cancelled = false;
  alignas(kCacheLine) Usage usage;
  std::vector<std::unique_ptr<Sequence>> choices;
  std::optional<TimePoint> first_step;
  std::optional<TimePoint> first_token;
  Duration others{};  // what other versions' steps had taken when it came, then at the first token
  TimePoint urgency;  // deadline, or arrival + patience: the order inside a class

  // Running sequences that `sequence` is or becomes.
  int seats(const Sequence& sequence) const { return sequence.choice == 0 ? 1 + pending : 1; }
};

// The order of the running sequences: the class they started with, then who came first.
inline bool RunsBefore(const Sequence& a, const Sequence& b) {
  return std::tie(a.rank_class, a.request->id, a.choice) <
         std::tie(b.rank_class, b.request->id, b.choice);
}

std::unique_ptr<RequestState> MakeRequestState(std::unique_ptr<Request> request,
                                               std::uint64_t* last_sequence_id);

}  // namespace llava::scheduling

#endif  // LLAVA_SERVER_SCHEDULING_SEQUENCE_H_
