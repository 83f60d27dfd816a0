#include "training/service/service_config.h"

#include <filesystem>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "base/field_error.h"
#include "base/status_macros.h"
#include "base/strict_yaml.h"

namespace llava::training {
namespace {

// A duration such as 30m, at least a second and at most a year.
void ReadDuration(StrictYaml& yaml, const char* key, std::int64_t* ms) {
  std::string text;
  yaml.Optional(key, &text);
  if (!yaml.Has(key)) return;
  absl::Duration duration;
  if (!absl::ParseDuration(text, &duration) || duration < absl::Seconds(1) ||
      duration > absl::Hours(366 * 24)) {
    yaml.Fail(key, absl::StrCat("is '", text, "', expected a duration such as 90s, 30m or 5h"));
    return;
  }
  *ms = absl::ToInt64Milliseconds(duration);
}

void ReadSchedule(StrictYaml& yaml, TriggerOptions* trigger) {
  std::string cron;
  std::string time_zone = "UTC";
  yaml.Optional("cron", &cron);
  yaml.Optional("time_zone", &time_zone);
  if (!yaml.Has("cron")) {
    if (yaml.Has("time_zone")) yaml.Fail("time_zone", "has no meaning without cron");
    return;
  }
  auto schedule = CronSchedule::Parse(cron, time_zone);
  if (!schedule.ok()) return yaml.Fail("cron", MessageOf(schedule.status()));
  trigger->schedule = *std::move(schedule);
}

void ReadTrigger(StrictYaml& yaml, ServiceConfig* config) {
  TriggerOptions trigger;
  for (const char* key : {"name", "watch", "recipe"}) yaml.Require(key);
  yaml.Optional("name", &trigger.name);
  yaml.Optional("watch", &trigger.watch);
  yaml.Optional("recipe", &trigger.recipe);
  yaml.Optional("trigger_file", &trigger.trigger_file);
  yaml.Optional("published", &trigger.published);
  yaml.Optional("retries", &trigger.retries);
  yaml.Optional("min_new_rows", &trigger.min_new_rows);
  if (trigger.retries < 0) yaml.Fail("retries", "expected at least 0");
  if (trigger.min_new_rows < 0) yaml.Fail("min_new_rows", "expected at least 0");
  ReadDuration(yaml, "backoff", &trigger.backoff_ms);
  ReadDuration(yaml, "deadline", &trigger.deadline_ms);
  ReadSchedule(yaml, &trigger);
  for (const TriggerOptions& other : config->triggers) {
    if (other.name == trigger.name) {
      yaml.Fail("name", absl::StrCat("is '", trigger.name, "', as that of another trigger"));
    }
  }
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
    trigger.scratch = config.folder;
    for (std::string* path :
         {&trigger.watch, &trigger.recipe, &trigger.trigger_file, &trigger.published}) {
      MakeAbsolute(folder, path);
    }
  }
  return config;
}

}  // namespace llava::training
