#include "training/endpoint/endpoint_options.h"

#include <algorithm>
#include <cstdlib>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/status_macros.h"

namespace llava::training {
namespace {

constexpr std::size_t kMaxKeyFileBytes = 64 << 10;

void Positive(StrictYaml& yaml, std::string_view key, double* value) {
  yaml.Optional(key, value);
  if (!(*value > 0)) yaml.Fail(key, "expected a number above 0");
}

void NotNegative(StrictYaml& yaml, std::string_view key, double* value) {
  yaml.Optional(key, value);
  if (!(*value >= 0)) yaml.Fail(key, "expected a number of at least 0");
}

void AtLeast(StrictYaml& yaml, std::string_view key, std::int64_t least, std::int64_t* value) {
  yaml.Optional(key, value);
  if (*value < least) yaml.Fail(key, absl::StrCat("expected at least ", least));
}

}  // namespace

void ReadEndpoint(StrictYaml& yaml, EndpointOptions* options) {
  yaml.Optional("base_url", &options->base_url);
  yaml.Require("base_url");
  yaml.Optional("model", &options->model);
  yaml.Require("model");
  yaml.Optional("api_key_env", &options->api_key_env);
  yaml.Optional("api_key_file", &options->api_key_file);
  yaml.Optional("allow_plain", &options->allow_plain);
  yaml.Optional("any_model", &options->any_model);
  AtLeast(yaml, "max_in_flight", 1, &options->max_in_flight);
  NotNegative(yaml, "requests_per_minute", &options->requests_per_minute);
  NotNegative(yaml, "tokens_per_minute", &options->tokens_per_minute);
  AtLeast(yaml, "max_attempts", 1, &options->max_attempts);
  Positive(yaml, "first_retry_seconds", &options->first_retry_seconds);
  Positive(yaml, "longest_retry_seconds", &options->longest_retry_seconds);
  Positive(yaml, "idle_seconds", &options->idle_seconds);
  Positive(yaml, "total_seconds", &options->total_seconds);
  Positive(yaml, "probe_seconds", &options->probe_seconds);
  Positive(yaml, "give_up_seconds", &options->give_up_seconds);
  yaml.Section("price", [&](StrictYaml& price) {
    NotNegative(price, "input_per_million", &options->input_price);
    NotNegative(price, "output_per_million", &options->output_price);
  });
}

void ReadBudget(StrictYaml& yaml, EndpointOptions* options) {
  if (yaml.Has("max_usd")) NotNegative(yaml, "max_usd", &options->max_cost.emplace());
  if (yaml.Has("max_tokens_total")) {
    AtLeast(yaml, "max_tokens_total", 0, &options->max_tokens_total.emplace());
  }
  if (options->max_cost.has_value() && options->input_price == 0 && options->output_price == 0) {
    yaml.Fail("max_usd", "a bound on money needs the endpoint's price");
  }
}

bool IsPaid(const EndpointOptions& options) {
  return options.input_price > 0 || options.output_price > 0 || options.max_cost.has_value() ||
         options.max_tokens_total.has_value();
}

absl::StatusOr<EndpointOptions> LoadEndpoint(const std::string& file) {
  EndpointOptions options;
  ASSIGN_OR_RETURN(StrictYaml yaml, StrictYaml::Load(file));
  yaml.Require("endpoint");
  yaml.Section("endpoint", [&](StrictYaml& endpoint) { ReadEndpoint(endpoint, &options); });
  yaml.Section("budget", [&](StrictYaml& budget) { ReadBudget(budget, &options); });
  RETURN_IF_ERROR(yaml.Finish());
  return options;
}

absl::StatusOr<std::string> LoadApiKey(const EndpointOptions& options) {
  std::string key;
  std::string source;
  if (!options.api_key_env.empty()) {
    source = absl::StrCat("environment variable ", options.api_key_env);
    const char* const value = std::getenv(options.api_key_env.c_str());
    if (value == nullptr) return absl::NotFoundError(absl::StrCat(source, " is not set"));
    key = value;
  } else if (!options.api_key_file.empty()) {
    source = options.api_key_file;
    ASSIGN_OR_RETURN(key, ReadFile(options.api_key_file, kMaxKeyFileBytes));
  } else {
    return key;
  }
  key = std::string(absl::StripAsciiWhitespace(key));
  const bool plain = std::all_of(key.begin(), key.end(), [](char c) { return c > ' ' && c < 127; });
  if (key.empty() || !plain) {
    return absl::InvalidArgumentError(
        absl::StrCat(source, ": expected a key of printable characters"));
  }
  return key;
}

}  // namespace llava::training
