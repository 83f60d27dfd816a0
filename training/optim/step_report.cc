#include "training/optim/step_report.h"

#include <unistd.h>

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <boost/json/value_from.hpp>
#include <fstream>
#include <utility>

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
  json["data_wait_share"] = report.data_wait_share();
  json["padding_share"] = report.padding_share();
  json["seconds_left"] = report.seconds_left;
  json["memory_bytes"] = report.memory_bytes;
  json["unix_ms"] = report.unix_millis;
  return boost::json::serialize(json);
}

std::string ToJson(const ValidationReport& report) {
  boost::json::array samples;
  for (const SampleAnswer& sample : report.samples) {
    samples.push_back({{"images", boost::json::value_from(sample.images)},
                       {"question", sample.question},
                       {"expected", sample.expected},
                       {"answer", sample.answer},
                       {"right", sample.right}});
  }
  boost::json::object json;
  json["stage"] = report.stage;
  json["step"] = report.step;
  json["total_step"] = report.total_step;
  json["validation_loss"] = report.loss;
  json["validation_accuracy"] = report.accuracy;
  json["rows"] = report.rows;
  json["targets"] = report.targets;
  json["best"] = report.best;
  json["since_best"] = report.since;
  json["seconds"] = report.seconds;
  json["unix_ms"] = report.unix_millis;
  json["samples_asked"] = std::move(samples);
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
