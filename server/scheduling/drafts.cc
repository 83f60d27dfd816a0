#include "server/scheduling/drafts.h"

#include <algorithm>

namespace llava::scheduling {
namespace {

// One token alone says too little about the next one.
constexpr int kLeastAlike = 2;
// Nobody looks further back than so many: a longer likeness makes the next token no likelier.
constexpr int kMostAlike = 8;

// How many tokens before and at `place` are like those at the end.
int AlikeAt(std::span<const std::int32_t> tokens, int place) {
  const int end = static_cast<int>(tokens.size()) - 1;
  int alike = 0;
  while (alike < kMostAlike && alike <= place &&
         tokens[static_cast<std::size_t>(place - alike)] ==
             tokens[static_cast<std::size_t>(end - alike)]) {
    ++alike;
  }
  return alike;
}

}  // namespace

Draft LookUpDraft(std::span<const std::int32_t> tokens, int most) {
  const int size = static_cast<int>(tokens.size());
  int best = -1;
  int most_alike = kLeastAlike - 1;
  for (int place = size - 2; place >= kLeastAlike - 1 && most_alike < kMostAlike; --place) {
    if (tokens[static_cast<std::size_t>(place)] != tokens.back()) continue;
    const int alike = AlikeAt(tokens, place);
    if (alike <= most_alike) continue;
    most_alike = alike;
    best = place;
  }
  if (best < 0) return {};
  return {.first = best + 1, .count = std::min(most, size - best - 1)};
}

int WorthwhileDrafts(double hits, double share, int most) {
  int count = 0;
  for (double all_right = hits; count < most && all_right > share; all_right *= hits) ++count;
  return count;
}

}  // namespace llava::scheduling
