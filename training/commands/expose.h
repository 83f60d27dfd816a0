// Serves Prometheus metrics over HTTP.
#ifndef LLAVA_TRAINING_COMMANDS_EXPOSE_H_
#define LLAVA_TRAINING_COMMANDS_EXPOSE_H_

#include <prometheus/collectable.h>
#include <prometheus/exposer.h>

#include <memory>
#include <string>

#include "absl/status/statusor.h"

namespace llava::training {

// Answers GET /metrics at HOST:PORT (port 0: any, see GetListeningPorts) while both live.
// UNAVAILABLE: the address cannot be bound.
absl::StatusOr<std::unique_ptr<prometheus::Exposer>> Expose(
    const std::string& address, const std::shared_ptr<prometheus::Collectable>& metrics);

}  // namespace llava::training

#endif  // LLAVA_TRAINING_COMMANDS_EXPOSE_H_
