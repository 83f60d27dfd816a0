#include "training/data/trainable.h"

#include <algorithm>
#include <functional>
#include <iterator>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace llava::training {
namespace {

// Of `count` rows; `row_of` gives the number of each.
absl::Status CheckRowsTeach(const InstructionDataset& data, const ConversationBuilder& builder,
                            std::int64_t count,
                            const std::function<std::int64_t(std::int64_t)>& row_of) {
  std::int64_t masked = 0;
  std::string first;
  for (std::int64_t at = 0; at < count; ++at) {
    const std::int64_t i = row_of(at);
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

}  // namespace

absl::Status CheckTeaches(const InstructionDataset& data, const ConversationBuilder& builder) {
  return CheckRowsTeach(data, builder, data.size(), [](std::int64_t at) { return at; });
}

absl::Status CheckTeaches(const InstructionDataset& data, const std::vector<std::int64_t>& rows,
                          const ConversationBuilder& builder) {
  return CheckRowsTeach(data, builder, std::ssize(rows),
                        [&](std::int64_t at) { return rows[static_cast<std::size_t>(at)]; });
}

}  // namespace llava::training
