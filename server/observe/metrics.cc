#include "server/observe/metrics.h"

#include <vector>

#include "base/utf8_stream.h"

namespace llava::observe {
namespace {

using Buckets = prometheus::Histogram::BucketBoundaries;

// About 1.5 between neighbours: from a cache hit on a small model to a long answer on a slow one.
Buckets SecondBuckets() {
  return {0.001, 0.0015, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05,
          0.075, 0.1,    0.15,  0.2,   0.3,   0.5,    0.75, 1,     1.5,  2,    3,
          5,     7.5,    10,    15,    20,    30,     60,   120,   300,  600};
}

// Steps and gaps between tokens.
Buckets ShortBuckets() {
  return {0.00005, 0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.003, 0.004, 0.005, 0.006, 0.008, 0.01,
          0.0125,  0.015,  0.02,   0.025,  0.03,  0.04,  0.05,  0.06,  0.08,  0.1,   0.125, 0.15,
          0.2,     0.25,   0.3,    0.4,    0.5,   0.75,  1,     2,     5,     10};
}

Buckets PowersOfTwo(int up_to) {
  Buckets buckets;
  for (int value = 1; value <= up_to; value *= 2) buckets.push_back(value);
  return buckets;
}

}  // namespace

Metrics::Metrics(prometheus::Registry* registry)
    : registry_(registry),
      captured_tenant_bytes_(prometheus::BuildGauge()
                                 .Name("llava_captured_tenant_bytes")
                                 .Help("Files of captured turns and verdicts of a tenant.")
                                 .Register(*registry)),
      model_info_(prometheus::BuildGauge()
                      .Name("llava_model_info")
                      .Help("The live model version.")
                      .Register(*registry)),
      time_to_first_token_exemplars("llava_time_to_first_token_seconds", SecondBuckets()),
      request_exemplars("llava_request_seconds", SecondBuckets()) {}

prometheus::Histogram& Metrics::Values(const char* name, const char* help, const Buckets& buckets) {
  return prometheus::BuildHistogram().Name(name).Help(help).Register(*registry_).Add({}, buckets);
}

prometheus::Histogram& Metrics::Times(const char* name, const char* help) {
  return Values(name, help, SecondBuckets());
}

prometheus::Histogram& Metrics::ShortTimes(const char* name, const char* help) {
  return Values(name, help, ShortBuckets());
}

prometheus::Histogram& Metrics::Sizes(const char* name, const char* help, int up_to) {
  return Values(name, help, PowersOfTwo(up_to));
}

prometheus::Family<prometheus::Counter>& Metrics::Totals(const char* name, const char* help) {
  return prometheus::BuildCounter().Name(name).Help(help).Register(*registry_);
}

prometheus::Counter& Metrics::Total(const char* name, const char* help) {
  return Totals(name, help).Add({});
}

prometheus::Gauge& Metrics::Now(const char* name, const char* help) {
  return prometheus::BuildGauge().Name(name).Help(help).Register(*registry_).Add({});
}

void Metrics::CountRequest(const std::string& protocol, const std::string& status,
                           const std::string& reason) {
  requests_.Add({{"protocol", protocol}, {"status", status}, {"reason", reason}}).Increment();
}

void Metrics::CountRejection(const std::string& reason) {
  rejections_.Add({{"reason", reason}}).Increment();
}

void Metrics::CountDroppedTurn(const std::string& reason) {
  dropped_turns_.Add({{"reason", reason}}).Increment();
}

void Metrics::SetCapturedBytes(const std::map<std::string, double>& by_tenant) {
  MutexLock lock(&mutex_);
  std::map<std::string, prometheus::Gauge*> before;
  before.swap(captured_tenants_);
  for (const auto& [tenant, bytes] : by_tenant) {
    const std::string label = Utf8Repair(tenant);
    prometheus::Gauge& gauge = captured_tenant_bytes_.Add({{"tenant", label}});
    gauge.Set(bytes);
    captured_tenants_[label] = &gauge;
    before.erase(label);
  }
  for (const auto& [label, gauge] : before) captured_tenant_bytes_.Remove(gauge);
}

void Metrics::CountVerdict(const std::string& verdict) {
  verdicts_.Add({{"verdict", verdict}}).Increment();
}

namespace {

// `name` if it is among the first `most` that came, else "other".
std::string LabelOf(const std::string& name, int most, std::set<std::string>* known) {
  std::string label = Utf8Repair(name);
  if (known->size() < static_cast<std::size_t>(most)) known->insert(label);
  return known->contains(label) ? label : "other";
}

}  // namespace

void Metrics::CountAdapterTokens(const std::string& adapter, double prompt, double generated) {
  std::string label;
  {
    MutexLock lock(&mutex_);
    label = LabelOf(adapter, kMaxAdapterLabels, &adapters_);
  }
  adapter_requests_.Add({{"adapter", label}}).Increment();
  adapter_tokens_.Add({{"adapter", label}, {"kind", "prompt"}}).Increment(prompt);
  adapter_tokens_.Add({{"adapter", label}, {"kind", "generated"}}).Increment(generated);
}

void Metrics::CountTenantTokens(const std::string& tenant, double prompt, double generated) {
  std::string label;
  {
    MutexLock lock(&mutex_);
    label = LabelOf(tenant, kMaxTenantLabels, &tenants_);
  }
  tenant_tokens_.Add({{"tenant", label}, {"kind", "prompt"}}).Increment(prompt);
  tenant_tokens_.Add({{"tenant", label}, {"kind", "generated"}}).Increment(generated);
}

void Metrics::SetModelInfo(const std::string& model, const std::string& version,
                           const std::string& dtype, const std::string& device) {
  MutexLock lock(&mutex_);
  if (live_model_ != nullptr) model_info_.Remove(live_model_);
  live_model_ = &model_info_.Add(
      {{"model", model}, {"version", version}, {"dtype", dtype}, {"device", device}});
  live_model_->Set(1);
}

void Metrics::SetBuildInfo(const std::string& version, const std::string& commit) {
  prometheus::BuildGauge()
      .Name("llava_build_info")
      .Help("The running program.")
      .Register(*registry_)
      .Add({{"version", version}, {"commit", commit}})
      .Set(1);
}

}  // namespace llava::observe
