#include "server/engine/admission_gate.h"

#include "base/check.h"

namespace llava::engine {
namespace {

void Accumulate(scheduling::AdmissionCost& sum, const scheduling::AdmissionCost& cost) {
  sum.requests += cost.requests;
  sum.tokens += cost.tokens;
  sum.bytes += cost.bytes;
  sum.pixels += cost.pixels;
}

}  // namespace

AdmissionTicket& AdmissionTicket::operator=(AdmissionTicket&& other) noexcept {
  if (this == &other) return *this;
  Release();
  gate_ = std::exchange(other.gate_, nullptr);
  tenant_ = std::move(other.tenant_);
  cost_ = other.cost_;
  return *this;
}

absl::Status AdmissionTicket::Add(const scheduling::AdmissionCost& cost) {
  LLAVA_CHECK(gate_ != nullptr);
  const absl::Status status = gate_->Add(tenant_, cost);
  if (status.ok()) Accumulate(cost_, cost);
  return status;
}

void AdmissionTicket::Release() {
  if (gate_ != nullptr) gate_->Release(tenant_, cost_);
  gate_ = nullptr;
}

absl::StatusOr<AdmissionTicket> AdmissionGate::Enter(const std::string& tenant,
                                                     const scheduling::AdmissionCost& cost) {
  MutexLock lock(&mutex_);
  if (closed_) return absl::UnavailableError("the server is shutting down");
  const absl::Status status = admission_.Reserve(tenant, cost);
  if (!status.ok()) return status;
  return AdmissionTicket(this, tenant, cost);
}

void AdmissionGate::Close() {
  MutexLock lock(&mutex_);
  closed_ = true;
}

scheduling::AdmissionCost AdmissionGate::held() const {
  MutexLock lock(&mutex_);
  return admission_.held();
}

absl::Status AdmissionGate::Add(const std::string& tenant, const scheduling::AdmissionCost& cost) {
  MutexLock lock(&mutex_);
  return admission_.Reserve(tenant, cost);
}

void AdmissionGate::Release(const std::string& tenant, const scheduling::AdmissionCost& cost) {
  MutexLock lock(&mutex_);
  admission_.Release(tenant, cost, clock_->Now());
}

}  // namespace llava::engine
