#include "training/tracking/mlflow_options.h"

#include <algorithm>
#include <cstdlib>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "base/http/http_exchange.h"
#include "training/endpoint/endpoint_options.h"

namespace llava::training {
namespace {

constexpr char kTokenVariable[] = "MLFLOW_TRACKING_TOKEN";
constexpr std::size_t kMaxNameBytes = 250;

// Names of experiments are asked for in quotes, which nothing inside can mask.
bool IsPlain(std::string_view name) {
  return std::all_of(name.begin(), name.end(), [](char c) {
    return static_cast<unsigned char>(c) >= ' ' && c != 127 && c != '\'' && c != '"' && c != '\\' &&
           c != '`';
  });
}

void ReadName(StrictYaml& yaml, std::string_view key, std::string* name) {
  yaml.Optional(key, name);
  if (!yaml.Has(key)) return;
  if (name->empty() || name->size() > kMaxNameBytes || !IsPlain(*name)) {
    yaml.Fail(key, absl::StrCat("expected 1 to ", kMaxNameBytes,
                                " bytes without quotes, backslashes and control characters"));
  }
}

}  // namespace

void ReadMlflow(StrictYaml& yaml, MlflowOptions* options) {
  yaml.Require("uri");
  yaml.Optional("uri", &options->uri);
  const absl::Status uri = ParseUrl(options->uri).status();
  if (yaml.Has("uri") && !uri.ok()) yaml.Fail("uri", std::string(uri.message()));
  yaml.Require("experiment");
  ReadName(yaml, "experiment", &options->experiment);
  ReadName(yaml, "run_name", &options->run_name);
  yaml.Optional("token_file", &options->token_file);
  yaml.Optional("allow_plain", &options->allow_plain);
}

absl::StatusOr<std::string> LoadMlflowToken(const MlflowOptions& options) {
  EndpointOptions secret;
  secret.api_key_file = options.token_file;
  const char* const variable = std::getenv(kTokenVariable);
  if (options.token_file.empty() && variable != nullptr && *variable != '\0') {
    secret.api_key_env = kTokenVariable;
  }
  return LoadApiKey(secret);
}

}  // namespace llava::training
