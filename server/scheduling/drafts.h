// Drafts: tokens that may come next, looked up in what the sequence says already (prompt lookup
// decoding, Saxena 2023). Answers often repeat a part of their prompt or of themselves. A step
// computes a draft beside the last token, and each token of it that sampling gives anyway is a step
// saved; the answer is the same as without.
#ifndef LLAVA_SERVER_SCHEDULING_DRAFTS_H_
#define LLAVA_SERVER_SCHEDULING_DRAFTS_H_

#include <cstdint>
#include <span>
#include <vector>

namespace llava::scheduling {

// Tokens [first, first + count) of the sequence itself.
struct Draft {
  int first = 0;
  int count = 0;
};

// Where every two tokens of one sequence stand: chained by their hash, the latest place first, as
// in LZ77. A step costs a new token's place and a look at kMostPlaces others at most, however long
// the sequence is; the first look-up, and one each time that the sequence has doubled, costs a
// place for each of its tokens. 12 to 20 bytes a token.
class DraftIndex {
 public:
  // Further back than at so many places with the same two tokens (or, rarely, of the same hash)
  // nobody looks.
  static constexpr int kMostPlaces = 256;

  // What followed the last place but the end itself that reads like the end: of the latest
  // kMostPlaces that have its last two tokens the one that goes on being like it for longest,
  // counted back, and of these the latest. At most `most` tokens; none where there is no such
  // place. REQUIRES: all but the last of the tokens of the call before are still there.
  Draft LookUp(std::span<const std::int32_t> tokens, int most);

 private:
  void AddPlaces(std::span<const std::int32_t> tokens);
  // The latest place of the tokens' hash; -1: none.
  std::int32_t& Latest(std::span<const std::int32_t> tokens, std::size_t place);

  std::vector<std::int32_t> latest_;   // by hash; as many as a power of two
  std::vector<std::int32_t> earlier_;  // by place: the one before of the same hash, or -1
};

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
