#include "training/report/run_history.h"

#include <boost/json.hpp>
#include <fstream>

namespace llava::training {
namespace {

namespace json = boost::json;

std::string Text(const json::object& object, const char* key) {
  const json::value* value = object.if_contains(key);
  return value != nullptr && value->is_string() ? std::string(value->get_string()) : "";
}

HistorySample SampleOf(const json::object& object) {
  HistorySample sample;
  sample.question = Text(object, "question");
  sample.expected = Text(object, "expected");
  sample.answer = Text(object, "answer");
  const json::value* right = object.if_contains("right");
  sample.right = right != nullptr && right->is_bool() && right->get_bool();
  const json::value* images = object.if_contains("images");
  if (images == nullptr || !images->is_array()) return sample;
  for (const json::value& image : images->get_array()) {
    if (image.is_string()) sample.images.emplace_back(image.get_string());
  }
  return sample;
}

void AddSamples(const json::object& line, const HistoryPoint& point, RunHistory* history) {
  const json::value* samples = line.if_contains("samples_asked");
  if (samples == nullptr || !samples->is_array() || samples->get_array().empty()) return;
  history->samples.clear();
  history->samples_stage = point.stage;
  history->samples_step = point.step;
  for (const json::value& sample : samples->get_array()) {
    if (sample.is_object()) history->samples.push_back(SampleOf(sample.get_object()));
  }
}

}  // namespace

RunHistory ReadRunHistory(const std::string& metrics_file) {
  RunHistory history;
  std::ifstream in(metrics_file);
  for (std::string line; std::getline(in, line);) {
    boost::system::error_code error;
    const json::value value = json::parse(line, error);
    if (error || !value.is_object()) continue;
    const json::object& object = value.get_object();
    HistoryPoint point;
    point.stage = Text(object, "stage");
    for (const auto& [key, field] : object) {
      if (field.is_number()) point.values[std::string(key)] = field.to_number<double>();
    }
    if (!point.values.contains("total_step")) continue;
    point.step = point.values.at("total_step");
    if (point.values.contains("validation_loss")) {
      AddSamples(object, point, &history);
      history.validations.push_back(std::move(point));
    } else if (point.values.contains("loss")) {
      history.steps.push_back(std::move(point));
    }
  }
  return history;
}

}  // namespace llava::training
