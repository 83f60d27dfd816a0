// What an engine is given for one model: the settings, cut to what the model and its memory allow.
#ifndef LLAVA_SERVER_HOSTING_ENGINE_OPTIONS_H_
#define LLAVA_SERVER_HOSTING_ENGINE_OPTIONS_H_

#include <string>

#include "absl/status/statusor.h"
#include "model/config/config.h"
#include "server/config/config.h"
#include "server/engine/engine.h"
#include "server/hosting/backend.h"
#include "server/hosting/device_defaults.h"

namespace llava::server {

// `chosen`: of the device. INVALID_ARGUMENT when the budgets do not fit the model: a KV cache must
// hold one conversation of max_context_tokens.
absl::StatusOr<engine::EngineOptions> ToEngineOptions(const Config& config,
                                                      const std::string& device,
                                                      const EngineDefaults& chosen,
                                                      const BackendModel& model,
                                                      const model::LlavaConfig& llava);

// Why operators should give the engine more memory; empty when nothing is wrong: its KV cache holds
// two conversations.
std::string KvCacheWarning(const engine::EngineOptions& options);

}  // namespace llava::server

#endif  // LLAVA_SERVER_HOSTING_ENGINE_OPTIONS_H_
