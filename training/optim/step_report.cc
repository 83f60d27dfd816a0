#include "training/optim/step_report.h"

#include <unistd.h>

#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <fstream>

namespace llava::training {

std::string ToJson(const StepReport& report) {
  boost::json::object json;
  json["stage"] = report.stage;
  json["step"] = report.step;
  json["stage_steps"] = report.stage_steps;
  json["total_step"] = report.total_step;
  json["loss"] = report.loss;
  json["accuracy"] = report.accuracy;
  json["grad_norm"] = report.gradient_norm;
  json["rate"] = report.rate;
  json["targets"] = report.targets;
  json["samples"] = report.stats.samples;
  json["tokens"] = report.stats.tokens;
  json["masked"] = report.stats.masked;
  json["truncated"] = report.stats.truncated;
  json["bad"] = report.stats.bad;
  json["seconds"] = report.seconds;
  json["tokens_per_second"] = report.tokens_per_second();
  json["samples_per_second"] = report.samples_per_second();
  json["padding_share"] = report.padding_share();
  json["seconds_left"] = report.seconds_left;
  json["memory_bytes"] = report.memory_bytes;
  return boost::json::serialize(json);
}

std::int64_t ResidentBytes() {
  std::ifstream statm("/proc/self/statm");
  std::int64_t total = 0;
  std::int64_t resident = 0;
  if (!(statm >> total >> resident)) return 0;
  return resident * sysconf(_SC_PAGESIZE);
}

}  // namespace llava::training
