#include "server/config/environment.h"

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/status_macros.h"
#include "server/config/config_table.h"

namespace llava::server {
namespace {

constexpr absl::string_view kPrefix = "LLAVAD_";

// LLAVAD_SERVICE_HOST, LLAVAD_PORT_50051_TCP_ADDR, ...: Kubernetes gives them to every container
// beside a service called llavad.
bool IsOfKubernetes(absl::string_view name) {
  return absl::StartsWith(name, "SERVICE_") || name == "PORT" || absl::StartsWith(name, "PORT_");
}

}  // namespace

std::string VariableOf(absl::string_view option) {
  return absl::StrCat(kPrefix, absl::AsciiStrToUpper(option));
}

absl::Status SetFromEnvironment(const char* const* environment, Config* config, Origins* origins) {
  for (; *environment != nullptr; ++environment) {
    const absl::string_view entry = *environment;
    const absl::string_view variable = entry.substr(0, entry.find('='));
    absl::string_view name = variable;
    if (variable == kConfigVariable || !absl::ConsumePrefix(&name, kPrefix)) continue;
    if (IsOfKubernetes(name)) continue;
    const Option* option = FindOption(absl::AsciiStrToLower(name));
    if (option == nullptr || VariableOf(option->name) != variable) {
      return absl::InvalidArgumentError(absl::StrCat(
          variable, ": there is no such option; expected ", kPrefix,
          " and an option's name in capitals, as ", VariableOf("max_images"), " of max_images"));
    }
    const std::string value(entry.substr(variable.size() + 1));
    RETURN_IF_ERROR(SetOption(option->name, value, variable, config));
    (*origins)[std::string(option->name)] = std::string(variable);
  }
  return absl::OkStatus();
}

}  // namespace llava::server
