#include "server/app/model_metrics.h"

namespace llava::server {
namespace {

using registry::VersionInfo;
using registry::VersionState;

constexpr std::size_t kMaxSeries = 32;

bool IsGone(VersionState state) {
  return state == VersionState::kFreed || state == VersionState::kRejected;
}

}  // namespace

ModelMetrics::ModelMetrics(prometheus::Registry* r)
    : states_(prometheus::BuildGauge()
                  .Name("llava_model_version_state")
                  .Help("1 for the state that each model version is in.")
                  .Register(*r)),
      traffic_(prometheus::BuildGauge()
                   .Name("llava_model_version_traffic_ratio")
                   .Help("Share of the requests that a version answers.")
                   .Register(*r)),
      reloads_(prometheus::BuildCounter()
                   .Name("llava_model_reloads_total")
                   .Help("Versions taken in, by outcome (serving, rejected) and, for the rejected, "
                         "by the state they failed in.")
                   .Register(*r)),
      verdicts_(prometheus::BuildCounter()
                    .Name("llava_model_canary_verdicts_total")
                    .Help("How canaries ended, by verdict (promoted, rolled_back) and reason.")
                    .Register(*r)),
      load_seconds_(prometheus::BuildHistogram()
                        .Name("llava_model_load_seconds")
                        .Help("From verifying a version to its being ready to serve.")
                        .Register(*r)
                        .Add({}, prometheus::Histogram::BucketBoundaries{0.1, 0.3, 1, 3, 10, 30, 60,
                                                                         120, 300, 600, 1800})) {}

void ModelMetrics::OnChange(const VersionInfo& info, const std::string& cause) {
  const std::string version = info.identity.digest.Hex();
  if (!series_.contains(version)) order_.push_back(version);
  Series& series = series_[version];
  CountReload(info, cause, &series);
  series.state = info.state;
  if (series.state_gauge != nullptr) states_.Remove(series.state_gauge);
  series.state_gauge =
      &states_.Add({{"version", version}, {"state", registry::StateName(info.state)}});
  series.state_gauge->Set(1);
  if (series.traffic == nullptr) series.traffic = &traffic_.Add({{"version", version}});
  series.traffic->Set(info.traffic);
  DropOld();
}

void ModelMetrics::CountReload(const VersionInfo& info, const std::string& cause, Series* series) {
  const VersionState before = series->state;
  if (info.state == VersionState::kDiscovered) series->reported = false;
  const bool came = info.state == VersionState::kCanary || info.state == VersionState::kLive;
  if (!series->reported && came) {
    series->reported = true;
    reloads_.Add({{"outcome", "serving"}, {"reason", ""}}).Increment();
    load_seconds_.Observe(info.load_seconds);
  }
  // A cause that is named on the way down is the state in which it failed.
  const bool failed =
      info.state == VersionState::kRejected || info.state == VersionState::kDraining;
  if (!series->reported && failed && !cause.empty()) {
    series->reported = true;
    reloads_.Add({{"outcome", "rejected"}, {"reason", cause}}).Increment();
  }
  if (before != VersionState::kCanary || info.state == VersionState::kCanary) return;
  const char* verdict = info.state == VersionState::kLive ? "promoted" : "rolled_back";
  verdicts_.Add({{"verdict", verdict}, {"reason", cause}}).Increment();
}

void ModelMetrics::DropOld() {
  for (auto it = order_.begin(); it != order_.end() && order_.size() > kMaxSeries;) {
    const auto found = series_.find(*it);
    if (!IsGone(found->second.state)) {
      ++it;
      continue;
    }
    states_.Remove(found->second.state_gauge);
    traffic_.Remove(found->second.traffic);
    series_.erase(found);
    it = order_.erase(it);
  }
}

}  // namespace llava::server
