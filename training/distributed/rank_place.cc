#include "training/distributed/rank_place.h"

#include <limits>
#include <string_view>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace llava::training {
namespace {

constexpr int kMostRanks = 1 << 16;

}  // namespace

absl::StatusOr<RankPlace> ReadRankPlace(const std::function<const char*(const char*)>& get) {
  const auto number = [&](const char* name, int low, int high) -> absl::StatusOr<int> {
    const char* text = get(name);
    int value = 0;
    if (text != nullptr && absl::SimpleAtoi(text, &value) && value >= low && value <= high) {
      return value;
    }
    return absl::InvalidArgumentError(
        absl::StrCat(name, " is ", text == nullptr ? "not set" : absl::StrCat("'", text, "'"),
                     ", expected ", low, " to ", high));
  };
  RankPlace place;
  if (get("WORLD_SIZE") == nullptr) return place;
  ASSIGN_OR_RETURN(place.size, number("WORLD_SIZE", 1, kMostRanks));
  if (place.size == 1) return place;
  ASSIGN_OR_RETURN(place.rank, number("RANK", 0, place.size - 1));
  if (get("LOCAL_RANK") != nullptr) {
    ASSIGN_OR_RETURN(place.local_rank, number("LOCAL_RANK", 0, place.size - 1));
  }
  ASSIGN_OR_RETURN(const int port, number("MASTER_PORT", 1, 65535));
  place.port = static_cast<std::uint16_t>(port);
  const char* address = get("MASTER_ADDR");
  if (address == nullptr || *address == '\0') {
    return absl::InvalidArgumentError("MASTER_ADDR is not set, expected the host of rank 0");
  }
  place.address = address;
  const char* agent = get("TORCHELASTIC_USE_AGENT_STORE");
  if (agent != nullptr && std::string_view(agent) == "True") {
    ASSIGN_OR_RETURN(const int attempt,
                     number("TORCHELASTIC_RESTART_COUNT", 0, std::numeric_limits<int>::max()));
    place.agent_prefix = absl::StrCat("llava-train/attempt-", attempt);
  }
  return place;
}

}  // namespace llava::training
