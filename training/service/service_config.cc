#include "training/service/service_config.h"

#include <filesystem>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "base/field_error.h"
#include "base/http/http_exchange.h"
#include "base/status_macros.h"
#include "base/strict_yaml.h"

namespace llava::training {
namespace {

void MakeAbsolute(const std::string& folder, std::string* path) {
  if (!path->empty()) *path = (std::filesystem::path(folder) / *path).lexically_normal().string();
}

// Within what sums of it can hold.
void CheckRange(StrictYaml& yaml, const char* key, std::int64_t value, std::int64_t low,
                std::int64_t high = 1'000'000'000) {
  if (value < low) yaml.Fail(key, absl::StrCat("is ", value, ", expected at least ", low));
  if (value > high) yaml.Fail(key, absl::StrCat("is ", value, ", expected at most ", high));
}

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

void ReadMix(StrictYaml& yaml, Mix* mix) {
  yaml.Section("mix", [mix](StrictYaml& shares) {
    for (const char* key : {"new", "old"}) shares.Require(key);
    shares.Optional("new", &mix->fresh);
    shares.Optional("old", &mix->old);
    const double sum = mix->fresh + mix->old;
    if (!(mix->fresh > 0.0 && mix->old > 0.0 && sum > 0.999 && sum < 1.001)) {
      shares.Fail("new", absl::StrCat("is ", mix->fresh, " and old is ", mix->old,
                                      ", expected two shares above 0 that make 1 together"));
    }
  });
}

// Each job has the plan in its own folder, where the pipeline looks for the rows.
void CheckPlan(StrictYaml& yaml, const std::string& plan) {
  if (plan.empty()) return;
  absl::StatusOr<StrictYaml> read = StrictYaml::Load(plan);
  if (!read.ok()) return yaml.Fail("generate", MessageOf(read.status()));
  std::string output;
  read->Optional("output", &output);
  if (output == "generated") return;
  yaml.Fail("generate", absl::StrCat("the plan's output is '", output, "', expected 'generated'"));
}

void ReadServer(StrictYaml& yaml, const std::string& folder, ServingDaemon* server) {
  yaml.Section("server", [&](StrictYaml& section) {
    section.Require("address");
    section.Optional("address", &server->address);
    section.Optional("ca", &server->ca);
    section.Optional("token_file", &server->token_file);
    std::int64_t wait_ms = server->wait_seconds * 1000;
    ReadDuration(section, "wait", &wait_ms);
    server->wait_seconds = (wait_ms + 999) / 1000;
    if (section.Has("address") && server->address.empty()) {
      section.Fail("address", "is '', expected HOST:PORT");
    }
    MakeAbsolute(folder, &server->ca);
    MakeAbsolute(folder, &server->token_file);
  });
}

void ReadPipeline(StrictYaml& yaml, const std::string& folder, TriggerOptions* trigger,
                  ServiceConfig* config) {
  yaml.Section("pipeline", [&](StrictYaml& section) {
    PipelineOptions options;
    section.Optional("generate", &options.generate);
    section.Choice("if_generate_fails", {{"skip", false}, {"train", true}},
                   &options.train_without_generated);
    section.Optional("images", &options.images);
    section.Optional("max_bad_share", &options.max_bad_share);
    section.Optional("judge", &options.judged);
    section.Optional("gate_optional", &options.gate_optional);
    ReadMix(section, &options.mix);
    ReadServer(section, folder, &options.server);
    if (!(options.max_bad_share >= 0.0 && options.max_bad_share <= 1.0)) {
      section.Fail("max_bad_share",
                   absl::StrCat("is ", options.max_bad_share, ", expected a share from 0 to 1"));
    }
    MakeAbsolute(folder, &options.generate);
    MakeAbsolute(folder, &options.images);
    CheckPlan(section, options.generate);
    trigger->mix = options.mix;
    trigger->one_at_a_time = true;
    trigger->always = !options.generate.empty() && trigger->schedule;
    config->pipelines[trigger->name] = std::move(options);
  });
}

void ReadTrigger(StrictYaml& yaml, const std::string& folder, ServiceConfig* config) {
  TriggerOptions trigger;
  for (const char* key : {"name", "watch", "recipe"}) yaml.Require(key);
  yaml.Optional("name", &trigger.name);
  yaml.Optional("watch", &trigger.watch);
  yaml.Optional("recipe", &trigger.recipe);
  yaml.Optional("trigger_file", &trigger.trigger_file);
  yaml.Optional("published", &trigger.published);
  yaml.Optional("retries", &trigger.retries);
  yaml.Optional("min_new_rows", &trigger.min_new_rows);
  CheckRange(yaml, "retries", trigger.retries, 0);
  CheckRange(yaml, "min_new_rows", trigger.min_new_rows, 0);
  ReadDuration(yaml, "backoff", &trigger.backoff_ms);
  ReadDuration(yaml, "deadline", &trigger.deadline_ms);
  ReadSchedule(yaml, &trigger);
  for (const TriggerOptions& other : config->triggers) {
    if (other.name == trigger.name) {
      yaml.Fail("name", absl::StrCat("is '", trigger.name, "', as that of another trigger"));
    }
  }
  ReadPipeline(yaml, folder, &trigger, config);
  yaml.Section("webhook", [&](StrictYaml& hook) {
    WebhookOptions options;
    hook.Require("url");
    hook.Optional("url", &options.url);
    hook.Optional("token_file", &options.token_file);
    MakeAbsolute(folder, &options.token_file);
    const auto target = ParseUrl(options.url);
    if (!target.ok()) hook.Fail("url", MessageOf(target.status()));
    config->webhooks[trigger.name] = std::move(options);
  });
  config->triggers.push_back(std::move(trigger));
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
  const std::string folder = std::filesystem::absolute(file).parent_path().string();
  yaml.List("triggers", [&](StrictYaml& trigger) { ReadTrigger(trigger, folder, &config); });
  CheckRange(yaml, "max_running", config.max_running, 1);
  CheckRange(yaml, "max_unfinished", config.max_unfinished, 1);
  CheckRange(yaml, "grace_seconds", config.grace_seconds, 0);
  CheckRange(yaml, "trigger_seconds", config.trigger_seconds, 1);
  RETURN_IF_ERROR(yaml.Finish());
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
