#include "server/scheduling/drafts.h"

#include <algorithm>
#include <bit>
#include <utility>

#include "base/check.h"

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

Draft DraftIndex::LookUp(std::span<const std::int32_t> tokens, int most) {
  const int size = static_cast<int>(tokens.size());
  if (size <= kLeastAlike) return {};
  AddPlaces(tokens);
  int best = -1;
  int most_alike = kLeastAlike - 1;
  int place = Latest(tokens, tokens.size() - 1);
  for (int looks = kMostPlaces; place >= 0 && looks > 0 && most_alike < kMostAlike; --looks) {
    const int here = std::exchange(place, earlier_[static_cast<std::size_t>(place)]);
    const int alike = AlikeAt(tokens, here);
    if (alike <= most_alike) continue;
    most_alike = alike;
    best = here;
  }
  if (best < 0) return {};
  return {.first = best + 1, .count = std::min(most, size - best - 1)};
}

// All but the end, which is what is looked up.
void DraftIndex::AddPlaces(std::span<const std::int32_t> tokens) {
  const std::size_t places = tokens.size() - 1;
  LLAVA_CHECK_LE(earlier_.size(), places + 1);
  if (places > latest_.size()) {  // room for twice as many
    latest_.assign(std::bit_ceil(2 * places), -1);
    earlier_.assign(1, -1);  // before the first token there is none
  }
  for (std::size_t place = earlier_.size(); place < places; ++place) {
    std::int32_t& latest = Latest(tokens, place);
    earlier_.push_back(std::exchange(latest, static_cast<std::int32_t>(place)));
  }
}

// Fibonacci hashing.
std::int32_t& DraftIndex::Latest(std::span<const std::int32_t> tokens, std::size_t place) {
  const auto before = static_cast<std::uint32_t>(tokens[place - 1]);
  const auto here = static_cast<std::uint32_t>(tokens[place]);
  const std::uint64_t hash = ((std::uint64_t{before} << 32) | here) * 0x9E3779B97F4A7C15u;
  return latest_[hash >> (64 - std::countr_zero(latest_.size()))];
}

int WorthwhileDrafts(double hits, double share, int most) {
  int count = 0;
  for (double all_right = hits; count < most && all_right > share; all_right *= hits) ++count;
  return count;
}

}  // namespace llava::scheduling
