// The scheduler's record of a request and of each of its choices.
#ifndef LLAVA_SERVER_SCHEDULING_SEQUENCE_H_
#define LLAVA_SERVER_SCHEDULING_SEQUENCE_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "base/clock.h"
#include "base/digest.h"
#include "server/scheduling/fair_share.h"
#include "server/scheduling/request.h"

namespace llava::scheduling {

//   kUnborn ──► kRunning ◄──► kWaiting        kUnborn: choices 1..n-1, until the prompt is computed
//                   │             │           kWaiting: holds nothing; new or preempted
//                   └─► kFinished ◄┘          kRunning: holds blocks
enum class SequenceState : std::uint8_t { kUnborn, kWaiting, kRunning, kFinished };

bool IsLegalTransition(SequenceState from, SequenceState to);

struct RequestState;

// An encoded image that this sequence holds until it has used it.
struct Pin {
  int image = 0;  // index in Request::images
  FeatureId feature;
};

// One choice of a request. Engine thread only; owned by its RequestState.
// Invariants: computed < tokens.size() unless finished; keys and values of [0, computed) are in
// `blocks`; not running <=> blocks and pins are empty.
struct Sequence {
  // What every step touches comes first.
  RequestState* request = nullptr;
  std::vector<std::int32_t> tokens;  // prompt, then output
  int prompt_tokens = 0;
  int computed = 0;        // tokens whose keys and values exist
  int writable_until = 0;  // slots [computed, writable_until) are known to be this sequence's own
  int choice = 0;
  SequenceState state = SequenceState::kWaiting;
  bool in_step = false;         // part of the step being planned or run
  std::vector<BlockId> blocks;  // block table
  int registered = 0;           // blocks offered to the prefix index
  int rank_class = 0;           // effective priority class when it started; orders the running ones
  SequenceId id;
  std::uint64_t seed = 0;
  std::vector<Pin> pins;
  std::vector<Digest> names;  // of the first full blocks, as far as they were needed

  void SetState(SequenceState next);
  int size() const { return static_cast<int>(tokens.size()); }
  int remaining() const { return size() - computed; }
  int outputs() const { return size() - prompt_tokens; }
  bool is_decode() const { return remaining() == 1 && outputs() > 0; }
};

// Engine thread only; owned by the scheduler, at a stable address.
struct RequestState {
  std::unique_ptr<Request> request;
  Tenant* tenant = nullptr;
  int version = 0;      // index in the scheduler's version table
  int max_outputs = 0;  // of each choice: max_tokens, or what the context leaves
  int unfinished = 0;   // choices
  int unborn = 0;       // choices
  bool paused = false;  // its reader is slow
  bool cancelled = false;
  Usage usage;
  std::vector<std::unique_ptr<Sequence>> choices;
  std::optional<TimePoint> first_step;
  std::optional<TimePoint> first_token;
  TimePoint urgency;  // deadline, or arrival + patience: the order inside a class

  // Running sequences that `sequence` is or becomes.
  int slots(const Sequence& sequence) const { return sequence.choice == 0 ? 1 + unborn : 1; }
};

std::unique_ptr<RequestState> MakeRequestState(std::unique_ptr<Request> request,
                                               std::uint64_t* last_sequence_id);

}  // namespace llava::scheduling

#endif  // LLAVA_SERVER_SCHEDULING_SEQUENCE_H_
