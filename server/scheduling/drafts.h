// Drafts: tokens that may come next, looked up in what the sequence says already (prompt lookup
// decoding, Saxena 2023). Answers often repeat a part of their prompt or of themselves. A step
// computes a draft beside the last token, and each token of it that sampling gives anyway is a step
// saved; the answer is the same as without.
#ifndef LLAVA_SERVER_SCHEDULING_DRAFTS_H_
#define LLAVA_SERVER_SCHEDULING_DRAFTS_H_

#include <cstdint>
#include <span>

namespace llava::scheduling {

// Tokens [first, first + count) of the sequence itself.
struct Draft {
  int first = 0;
  int count = 0;
};

// What followed the last place but the end itself that reads like the end: of the places that have
// its last two tokens the one that goes on being like it for longest, counted back, and of these
// the latest. At most `most` tokens; none where there is no such place.
Draft LookUpDraft(std::span<const std::int32_t> tokens, int most);

// What drafts may take of a step of decodes alone.
struct DraftBudget {
  int most = 0;      // tokens for each sequence
  double share = 0;  // by which one more row of each sequence makes the step longer
};

// How many of `most` drafted tokens are worth their rows, if each comes true with probability
// `hits` where those before it did. A row of `share` of a step's time has to save so much of a
// step.
int WorthwhileDrafts(double hits, double share, int most);

}  // namespace llava::scheduling

#endif  // LLAVA_SERVER_SCHEDULING_DRAFTS_H_
