#include "server/chat/scores.h"

#include "absl/strings/str_cat.h"
#include "base/field_error.h"

namespace llava::api {

void Scores::Add(const engine::Delta& delta) {
  const auto choice = static_cast<std::size_t>(delta.choice);
  std::vector<SampledToken>& tokens = tokens_[choice];
  for (const SampledToken& token : delta.tokens) {
    if (tokens.size() < static_cast<std::size_t>(lengths_[choice])) tokens.push_back(token);
  }
}

absl::Status Scores::Check() const {
  for (std::size_t i = 0; i < tokens_.size(); ++i) {
    if (tokens_[i].size() == static_cast<std::size_t>(lengths_[i])) continue;
    return FieldError(absl::StrCat("choices[", i, "]"),
                      absl::StrCat("has ", lengths_[i], " tokens, but the context ended after ",
                                   tokens_[i].size()));
  }
  return absl::OkStatus();
}

double Scores::LogprobOf(std::size_t i) const {
  double sum = 0;
  for (const SampledToken& token : tokens_[i]) sum += token.logprob;
  return sum;
}

std::size_t Scores::Best() const {
  std::size_t best = 0;
  for (std::size_t i = 1; i < tokens_.size(); ++i) {
    if (LogprobOf(i) > LogprobOf(best)) best = i;
  }
  return best;
}

}  // namespace llava::api
