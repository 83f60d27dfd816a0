// Options as environment variables, for containers: LLAVAD_ and the option's name in capitals.
#ifndef LLAVA_SERVER_CONFIG_ENVIRONMENT_H_
#define LLAVA_SERVER_CONFIG_ENVIRONMENT_H_

#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "server/config/config.h"

namespace llava::server {

// Names the configuration file, as --config does.
inline constexpr const char* kConfigVariable = "LLAVAD_CONFIG";

// "LLAVAD_VISION_TOWER" of "vision_tower".
std::string VariableOf(absl::string_view option);

// Sets each option whose variable is in `environment`, which is as `environ`: "NAME=VALUE" each,
// then a null pointer. A value is what a flag takes, and an empty one is an empty text or list.
// INVALID_ARGUMENT names the variable: of a wrong value, and of a variable that is called as if it
// were an option's. Those that Kubernetes sets for a service called llavad are none of that kind.
absl::Status SetFromEnvironment(const char* const* environment, Config* config, Origins* origins);

}  // namespace llava::server

#endif  // LLAVA_SERVER_CONFIG_ENVIRONMENT_H_
