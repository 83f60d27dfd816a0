// An MLflow server of one experiment and one run, which fails as a test tells it to. It knows
// requests by their bodies.
#ifndef LLAVA_TESTS_SUPPORT_FAKE_MLFLOW_H_
#define LLAVA_TESTS_SUPPORT_FAKE_MLFLOW_H_

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/parse.hpp>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "base/mutex.h"
#include "tests/support/scripted_server.h"

namespace llava::test {

// Thread-safe.
class FakeMlflow {
 public:
  using Point = std::tuple<std::string, std::int64_t, double>;  // name, step, value

  std::string uri() const {
    const std::string url = server_.url();
    return url.substr(0, url.rfind('/'));
  }
  std::string authorization() const { return server_.authorization(); }

  // What every request is answered with from now on; nothing: as MLflow does.
  void Fail(std::optional<std::string> answer) {
    MutexLock lock(&mutex_);
    failure_ = std::move(answer);
  }

  // Every n-th request is done, but its answer is lost; 0: none is.
  void LoseEvery(int n) {
    MutexLock lock(&mutex_);
    lose_every_ = n;
  }

  // A parameter of this name is refused.
  void RefuseParam(const std::string& name) {
    MutexLock lock(&mutex_);
    refused_ = name;
  }

  std::vector<Point> points() const {
    MutexLock lock(&mutex_);
    return points_;
  }
  std::map<std::string, std::string> params() const {
    MutexLock lock(&mutex_);
    return params_;
  }
  std::map<std::string, std::string> tags() const {
    MutexLock lock(&mutex_);
    return tags_;
  }
  // How the run stood, one after the other.
  std::vector<std::string> statuses() const {
    MutexLock lock(&mutex_);
    return statuses_;
  }
  int runs() const {
    MutexLock lock(&mutex_);
    return runs_;
  }

 private:
  static std::string Text(const boost::json::object& object, const char* key) {
    const auto& text = object.at(key).as_string();
    return {text.data(), text.size()};
  }

  std::string Answer(const std::string& body) {
    MutexLock lock(&mutex_);
    if (failure_) return *failure_;
    const std::string answer = Do(boost::json::parse(body).as_object());
    ++asked_;
    return lose_every_ > 0 && asked_ % lose_every_ == 0 ? "" : answer;
  }

  std::string Do(const boost::json::object& body) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (body.contains("filter")) {
      const bool runs = body.contains("experiment_ids");
      if (runs) {
        return HttpText(200, runs_ > 0 ? R"({"runs":[{"info":{"run_id":"r1"}}]})" : "{}");
      }
      return HttpText(200, has_experiment_
                               ? R"({"experiments":[{"name":"flags","experiment_id":"7"}]})"
                               : "{}");
    }
    if (body.contains("name")) {
      has_experiment_ = true;
      return HttpText(200, R"({"experiment_id":"7"})");
    }
    if (body.contains("start_time")) {
      ++runs_;
      statuses_.push_back("RUNNING");
      return HttpText(200, R"({"run":{"info":{"run_id":"r1"}}})");
    }
    if (body.contains("status")) statuses_.push_back(Text(body, "status"));
    if (body.contains("params")) {
      for (const auto& param : body.at("params").as_array()) {
        if (Text(param.as_object(), "key") == refused_) {
          return HttpText(400, R"({"error_code":"INVALID_PARAMETER_VALUE","message":"no"})");
        }
        params_[Text(param.as_object(), "key")] = Text(param.as_object(), "value");
      }
    }
    if (body.contains("tags")) {
      for (const auto& tag : body.at("tags").as_array()) {
        tags_[Text(tag.as_object(), "key")] = Text(tag.as_object(), "value");
      }
    }
    if (body.contains("metrics")) {
      for (const auto& metric : body.at("metrics").as_array()) {
        points_.emplace_back(Text(metric.as_object(), "key"),
                             metric.at("step").to_number<std::int64_t>(),
                             metric.at("value").to_number<double>());
      }
    }
    return HttpText(200, "{}");
  }

  mutable Mutex mutex_;
  std::optional<std::string> failure_ ABSL_GUARDED_BY(mutex_);
  int asked_ ABSL_GUARDED_BY(mutex_) = 0;
  int lose_every_ ABSL_GUARDED_BY(mutex_) = 0;
  std::string refused_ ABSL_GUARDED_BY(mutex_);
  bool has_experiment_ ABSL_GUARDED_BY(mutex_) = false;
  int runs_ ABSL_GUARDED_BY(mutex_) = 0;
  std::vector<Point> points_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, std::string> params_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, std::string> tags_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::string> statuses_ ABSL_GUARDED_BY(mutex_);
  ScriptedServer server_{[this](std::size_t, const std::string& body) { return Answer(body); }};
};

}  // namespace llava::test

#endif  // LLAVA_TESTS_SUPPORT_FAKE_MLFLOW_H_
