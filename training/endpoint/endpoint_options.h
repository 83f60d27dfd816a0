// Which service of OpenAI's chat completions is asked, how fast, and for how much money.
#ifndef LLAVA_TRAINING_ENDPOINT_ENDPOINT_OPTIONS_H_
#define LLAVA_TRAINING_ENDPOINT_ENDPOINT_OPTIONS_H_

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "base/strict_yaml.h"

namespace llava::training {

struct EndpointOptions {
  std::string base_url{};  // "https://api.openai.com/v1"; its own path comes before ours
  std::string model{};     // as the service calls it
  std::string
      api_key_env{};  // the environment variable with the key; the key itself stands nowhere
  std::string api_key_file{};  // or a file that holds nothing else
  bool allow_plain = false;    // http: to a public address too
  bool any_model = false;      // take answers that say they are of another model

  std::int64_t max_in_flight = 8;  // requests at a time, at the most
  double requests_per_minute = 0;  // 0: as many as it takes
  double tokens_per_minute = 0;    // of prompt and answer together, as estimated; 0: any
  std::int64_t max_attempts = 8;   // failures of one request until it counts as failed
  double first_retry_seconds = 1;  // after the first failure; doubled each time, with jitter
  double longest_retry_seconds = 60;
  double idle_seconds = 60;       // without a byte
  double total_seconds = 300;     // of one attempt
  double probe_seconds = 30;      // between attempts while the service seems to be down
  double give_up_seconds = 1800;  // of that

  double input_price = 0;  // per million tokens, in any currency
  double output_price = 0;
  // Of all attempts that the ledger knows. 0: nothing may be paid; nullopt: no bound.
  std::optional<double> max_cost{};
  std::optional<std::int64_t> max_tokens_total{};
};

// Whether what is asked costs something, or may cost only so much: then a ledger is to be kept.
bool IsPaid(const EndpointOptions& options);

// The keys of a mapping `endpoint`, named as the members above; `price` is a mapping of
// input_per_million and output_per_million. Mistakes stick to `yaml`.
void ReadEndpoint(StrictYaml& yaml, EndpointOptions* options);

// The keys of a mapping `budget`: max_usd, max_tokens_total.
void ReadBudget(StrictYaml& yaml, EndpointOptions* options);

// A YAML file of `endpoint` and, if it is to have bounds, `budget`.
absl::StatusOr<EndpointOptions> LoadEndpoint(const std::string& file);

// The key, or "" when none is named. NOT_FOUND: no such variable or file; INVALID_ARGUMENT: it has
// characters that no header may have. No message has any of it.
absl::StatusOr<std::string> LoadApiKey(const EndpointOptions& options);

}  // namespace llava::training

#endif  // LLAVA_TRAINING_ENDPOINT_ENDPOINT_OPTIONS_H_
