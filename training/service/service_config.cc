#include "training/service/service_config.h"

#include <filesystem>

#include "base/status_macros.h"
#include "base/strict_yaml.h"

namespace llava::training {
namespace {

void ReadTrigger(StrictYaml& yaml, ServiceConfig* config) {
  TriggerOptions trigger;
  for (const char* key : {"name", "watch", "recipe"}) yaml.Require(key);
  yaml.Optional("name", &trigger.name);
  yaml.Optional("watch", &trigger.watch);
  yaml.Optional("recipe", &trigger.recipe);
  yaml.Optional("trigger_file", &trigger.trigger_file);
  yaml.Optional("published", &trigger.published);
  yaml.Optional("retries", &trigger.retries);
  yaml.Optional("retry_seconds", &trigger.retry_seconds);
  if (trigger.retries < 0) yaml.Fail("retries", "expected at least 0");
  if (trigger.retry_seconds < 1) yaml.Fail("retry_seconds", "expected at least 1");
  config->triggers.push_back(std::move(trigger));
}

void CheckRange(StrictYaml& yaml, const char* key, std::int64_t value, std::int64_t low) {
  if (value < low) yaml.Fail(key, "expected at least " + std::to_string(low));
}

void MakeAbsolute(const std::string& folder, std::string* path) {
  if (!path->empty()) *path = (std::filesystem::path(folder) / *path).lexically_normal().string();
}

}  // namespace

absl::StatusOr<ServiceConfig> ReadServiceConfig(const std::string& file) {
  ASSIGN_OR_RETURN(StrictYaml yaml, StrictYaml::Load(file));
  ServiceConfig config;
  yaml.Require("folder");
  yaml.Optional("listen", &config.listen);
  yaml.Optional("folder", &config.folder);
  yaml.Optional("max_running", &config.max_running);
  yaml.Optional("max_unfinished", &config.max_unfinished);
  yaml.Optional("grace_seconds", &config.grace_seconds);
  yaml.Optional("trigger_seconds", &config.trigger_seconds);
  yaml.Optional("tokens", &config.tokens);
  yaml.Optional("reflection", &config.reflection);
  yaml.Optional("metrics", &config.metrics);
  yaml.Section("tls", [&config](StrictYaml& tls) {
    tls.Require("certificate");
    tls.Require("key");
    tls.Optional("certificate", &config.tls_certificate);
    tls.Optional("key", &config.tls_key);
    tls.Optional("client_ca", &config.tls_client_ca);
  });
  yaml.List("triggers", [&config](StrictYaml& trigger) { ReadTrigger(trigger, &config); });
  CheckRange(yaml, "max_running", config.max_running, 1);
  CheckRange(yaml, "max_unfinished", config.max_unfinished, 1);
  CheckRange(yaml, "grace_seconds", config.grace_seconds, 0);
  CheckRange(yaml, "trigger_seconds", config.trigger_seconds, 1);
  RETURN_IF_ERROR(yaml.Finish());
  const std::string folder = std::filesystem::absolute(file).parent_path().string();
  for (std::string* path : {&config.folder, &config.tokens, &config.tls_certificate,
                            &config.tls_key, &config.tls_client_ca}) {
    MakeAbsolute(folder, path);
  }
  for (TriggerOptions& trigger : config.triggers) {
    for (std::string* path :
         {&trigger.watch, &trigger.recipe, &trigger.trigger_file, &trigger.published}) {
      MakeAbsolute(folder, path);
    }
  }
  return config;
}

}  // namespace llava::training
