#include "training/data/trainable.h"

#include <algorithm>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace llava::training {

absl::Status CheckTeaches(const InstructionDataset& data, const ConversationBuilder& builder) {
  std::int64_t masked = 0;
  std::string first;
  for (std::int64_t i = 0; i < data.size(); ++i) {
    ASSIGN_OR_RETURN(const Row row, data.Read(i));
    const absl::StatusOr<std::vector<Sample>> samples =
        builder.config().has_tiles() ? builder.Build(row) : builder.BuildWithoutPixels(row);
    if (!samples.ok() || samples->empty()) continue;
    if (std::any_of(samples->begin(), samples->end(),
                    [](const Sample& sample) { return sample.HasLabels(); })) {
      return absl::OkStatus();
    }
    if (masked++ > 0) continue;
    const Sample& sample = samples->front();
    first = absl::StrCat(data.Describe(i), " has ", sample.ids.size(), " tokens, and ",
                         sample.truncated_tokens, " more are cut off by max_length");
  }
  if (masked == 0) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("nothing would be learned: every label is masked in each of the ", masked,
                   " rows (", first, "), expected a row with a token of an answer"));
}

}  // namespace llava::training
