#include "server/scheduling/sequence.h"

#include <utility>

#include "base/check.h"

namespace llava::scheduling {
bool IsLegalTransition(SequenceState from, SequenceState to) {
  switch (from) {
    case SequenceState::kPending:
    case SequenceState::kWaiting:
      return to == SequenceState::kRunning || to == SequenceState::kFinished;
    case SequenceState::kRunning:
      return to == SequenceState::kWaiting || to == SequenceState::kFinished;
    case SequenceState::kFinished:
      return false;
  }
  return false;
}

void Sequence::SetState(SequenceState next) {
  LLAVA_CHECK(IsLegalTransition(state, next));
  state = next;
}

EndTokens::EndTokens(const Request& request) : from_index_(request.sampling.min_tokens - 1) {
  const auto add = [this](const std::vector<std::int32_t>& ids) {
    for (const std::int32_t id : ids) {
      if (count_ < kFew) ids_[static_cast<std::size_t>(count_)] = id;
      ++count_;
    }
  };
  if (!request.sampling.ignore_eos) add(request.end_token_ids);
  add(request.sampling.stop_token_ids);
}

std::unique_ptr<RequestState> MakeRequestState(std::unique_ptr<Request> request,
                                               std::uint64_t* last_sequence_id) {
  auto state = std::make_unique<RequestState>();
  state->unfinished = request->n;
  state->pending = request->n - 1;
  for (int choice = 0; choice < request->n; ++choice) {
    auto sequence = std::make_unique<Sequence>();
    sequence->id = SequenceId(++*last_sequence_id);
    sequence->request = state.get();
    sequence->choice = choice;
    sequence->seed = ChoiceSeed(*request, choice);
    sequence->prompt_tokens = static_cast<int>(request->prompt_ids.size());
    sequence->state = choice == 0 ? SequenceState::kWaiting : SequenceState::kPending;
    if (choice == 0) sequence->tokens = request->prompt_ids;
    state->choices.push_back(std::move(sequence));
  }
  state->usage.prompt_tokens = static_cast<int>(request->prompt_ids.size());
  for (const ImageInput& image : request->images) state->usage.image_tokens += image.count;
  state->id = request->id;
  state->ends = EndTokens(*request);
  state->spec = std::move(request);
  return state;
}

}  // namespace llava::scheduling
