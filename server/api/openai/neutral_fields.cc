#include "server/api/openai/neutral_fields.h"

#include <algorithm>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <iterator>

#include "absl/strings/str_cat.h"
#include "server/api/openai/json_body.h"

namespace llava::api {
namespace {

namespace json = boost::json;

struct NeutralField {
  absl::string_view name;
  // The JSON values that ask for nothing, as a list; "*": a hint, which no answer depends on.
  const char* passes;
};

constexpr NeutralField kFields[] = {
    // OpenAI's reference.
    {"store", "*"},
    {"metadata", "*"},
    {"service_tier", "*"},
    {"safety_identifier", "*"},
    {"prompt_cache_key", "*"},
    {"prompt_cache_retention", "*"},
    {"prompt_cache_options", "*"},
    {"moderation", "[]"},
    {"verbosity", R"(["medium"])"},
    {"reasoning_effort", R"(["none"])"},
    {"functions", "[[]]"},
    {"function_call", R"(["none", "auto"])"},
    {"modalities", R"([["text"], []])"},
    {"audio", "[]"},
    {"prediction", "[]"},
    {"web_search_options", "[]"},
    // vLLM's.
    {"request_id", "*"},
    {"include_reasoning", "*"},
    {"best_of", "[1]"},
    {"use_beam_search", "[false]"},
    {"length_penalty", "[1]"},
    {"skip_special_tokens", "[true]"},
    {"spaces_between_special_tokens", "[true]"},
    {"include_stop_str_in_output", "[false]"},
    {"return_tokens_as_token_ids", "[false]"},
    {"echo", "[false]"},
    {"add_special_tokens", "[false]"},
    {"prompt_logprobs", "[]"},
    {"truncate_prompt_tokens", "[]"},
    {"allowed_token_ids", "[]"},
    {"bad_words", "[[]]"},
    {"logits_processors", "[[]]"},
    {"documents", "[[]]"},
    {"chat_template", "[]"},
    {"chat_template_kwargs", "[{}]"},
    {"mm_processor_kwargs", "[{}]"},
    {"media_io_kwargs", "[{}]"},
    {"structural_tag", "[]"},
    {"guided_json", "[]"},
    {"guided_regex", "[]"},
    {"guided_choice", "[[]]"},
    {"guided_grammar", "[]"},
    {"guided_decoding_backend", "[]"},
    {"guided_whitespace_pattern", "[]"},
    {"kv_transfer_params", "[{}]"},
    {"vllm_xargs", "[{}]"},
    // In stream_options.
    {"include_obfuscation", "[false]"},
    {"continuous_usage_stats", "[false]"},
};

const NeutralField* Find(absl::string_view name) {
  const auto* found =
      std::find_if(std::begin(kFields), std::end(kFields),
                   [name](const NeutralField& field) { return field.name == name; });
  return found == std::end(kFields) ? nullptr : found;
}

// To JSON Schema, 1 and 1.0 are one number.
bool Same(const json::value& a, const json::value& b) {
  if (a.is_number() && b.is_number()) return a.to_number<double>() == b.to_number<double>();
  return a == b;
}

}  // namespace

bool IsNeutralField(absl::string_view name) { return Find(name) != nullptr; }

absl::Status CheckNeutralField(absl::string_view name, const json::value& value,
                               const std::string& place) {
  const absl::string_view passes = Find(name)->passes;
  if (passes == "*" || value.is_null()) return absl::OkStatus();
  const json::array values = json::parse({passes.data(), passes.size()}).as_array();
  for (const json::value& other : values) {
    if (Same(value, other)) return absl::OkStatus();
  }
  std::string allowed = "null";
  for (const json::value& other : values) absl::StrAppend(&allowed, " or ", json::serialize(other));
  return NotSupported(place, value, allowed);
}

}  // namespace llava::api
