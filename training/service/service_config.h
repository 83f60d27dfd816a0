// The configuration of `llava-train serve`: one YAML file, read strictly.
#ifndef LLAVA_TRAINING_SERVICE_SERVICE_CONFIG_H_
#define LLAVA_TRAINING_SERVICE_SERVICE_CONFIG_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "training/service/pipeline.h"
#include "training/service/trigger.h"
#include "training/service/webhook.h"

namespace llava::training {

struct ServiceConfig {
  std::string listen = "127.0.0.1:8090";
  std::string folder;                  // the database and the jobs' folders; required
  std::int64_t max_running = 1;        // jobs at a time
  std::int64_t max_unfinished = 1000;  // queued and running
  std::int64_t grace_seconds = 60;     // between SIGTERM and SIGKILL of a job
  std::int64_t trigger_seconds = 30;   // between two looks of the triggers
  std::string tokens;                  // file of tokens as llavad has it; "": everybody may
  std::string tls_certificate, tls_key, tls_client_ca;
  bool reflection = true;
  std::string metrics;  // HOST:PORT of Prometheus metrics; "": none
  std::vector<TriggerOptions> triggers;
  std::map<std::string, PipelineOptions> pipelines;  // by the name of their trigger
  std::map<std::string, WebhookOptions> webhooks;    // likewise
};

// NOT_FOUND or INVALID_ARGUMENT with file, line, key and what was expected. Paths in the file are
// relative to its folder.
absl::StatusOr<ServiceConfig> ReadServiceConfig(const std::string& file);

}  // namespace llava::training

#endif  // LLAVA_TRAINING_SERVICE_SERVICE_CONFIG_H_
