#include "base/sampling_params.h"

#include "absl/strings/str_cat.h"
#include "base/field_error.h"
#include "base/status_macros.h"

namespace llava {
namespace {

constexpr std::size_t kMaxStops = 16;
constexpr std::size_t kMaxStopBytes = 256;
constexpr int kMaxTopLogprobs = 20;

template <typename Number>
absl::Status Wrong(absl::string_view field, Number value, absl::string_view expected) {
  return FieldError(field, absl::StrCat(value, " is not ", expected));
}

absl::Status ValidateListed(absl::string_view field, std::size_t tokens) {
  if (tokens <= static_cast<std::size_t>(kMaxListedTokens)) return absl::OkStatus();
  return FieldError(field, absl::StrCat(tokens, " token ids, expected at most ", kMaxListedTokens));
}

absl::Status ValidateStops(const SamplingParams& p) {
  if (p.stop.size() > kMaxStops) {
    return Wrong("stop", static_cast<double>(p.stop.size()), "at most 16 strings");
  }
  for (std::size_t i = 0; i < p.stop.size(); ++i) {
    const std::size_t bytes = p.stop[i].size();
    if (bytes == 0 || bytes > kMaxStopBytes) {
      return FieldError(absl::StrCat("stop[", i, "]"),
                        absl::StrCat(bytes, " bytes, expected 1 to ", kMaxStopBytes));
    }
  }
  return ValidateListed("stop_token_ids", p.stop_token_ids.size());
}

// Written so that NaN is out of every range.
bool In(double value, double low, double high) { return value >= low && value <= high; }

}  // namespace

absl::Status Validate(const SamplingParams& p) {
  if (!In(p.temperature, 0, 100)) return Wrong("temperature", p.temperature, "in [0, 100]");
  if (!In(p.top_p, 0, 1)) return Wrong("top_p", p.top_p, "in [0, 1]");
  if (p.top_k < 0) return Wrong("top_k", p.top_k, "at least 0");
  if (!In(p.min_p, 0, 1)) return Wrong("min_p", p.min_p, "in [0, 1]");
  if (!(p.repetition_penalty > 0 && p.repetition_penalty <= 10)) {
    return Wrong("repetition_penalty", p.repetition_penalty, "in (0, 10]");
  }
  if (!In(p.presence_penalty, -2, 2)) {
    return Wrong("presence_penalty", p.presence_penalty, "in [-2, 2]");
  }
  if (!In(p.frequency_penalty, -2, 2)) {
    return Wrong("frequency_penalty", p.frequency_penalty, "in [-2, 2]");
  }
  RETURN_IF_ERROR(ValidateListed("logit_bias", p.logit_bias.size()));
  for (const auto& [token, bias] : p.logit_bias) {
    if (!In(bias, -100, 100)) {
      return Wrong(absl::StrCat("logit_bias[", token, "]"), bias, "in [-100, 100]");
    }
  }
  if (p.top_logprobs < -1 || p.top_logprobs > kMaxTopLogprobs) {
    return Wrong("top_logprobs", p.top_logprobs, "in [0, 20]");
  }
  if (p.max_tokens < 1) return Wrong("max_tokens", p.max_tokens, "at least 1");
  if (p.min_tokens < 0 || p.min_tokens > p.max_tokens) {
    return Wrong("min_tokens", p.min_tokens, "between 0 and max_tokens");
  }
  return ValidateStops(p);
}

}  // namespace llava
