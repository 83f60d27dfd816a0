// What an engine is given for one model: the settings, cut to what the model and its memory allow.
#ifndef LLAVA_SERVER_HOSTING_ENGINE_OPTIONS_H_
#define LLAVA_SERVER_HOSTING_ENGINE_OPTIONS_H_

#include <string>

#include "absl/status/statusor.h"
#include "model/config/config.h"
#include "server/config/config.h"
#include "server/engine/engine.h"
#include "server/hosting/backend.h"

namespace llava::server {

// INVALID_ARGUMENT when the budgets do not fit the model.
absl::StatusOr<engine::EngineOptions> ToEngineOptions(const Config& config,
                                                      const std::string& device,
                                                      const BackendModel& model,
                                                      const model::LlavaConfig& llava);

}  // namespace llava::server

#endif  // LLAVA_SERVER_HOSTING_ENGINE_OPTIONS_H_
