#include "server/engine/admission_gate.h"

#include "base/check.h"

namespace llava::engine {

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
  const absl::Status status = gate_->Add(tenant_, cost, cost_);
  if (status.ok()) scheduling::Accumulate(cost_, cost, 1);
  return status;
}

void AdmissionTicket::GiveBack(const scheduling::AdmissionCost& cost) {
  LLAVA_CHECK(gate_ != nullptr);
  gate_->Release(tenant_, cost);
  scheduling::Accumulate(cost_, cost, -1);
}

void AdmissionTicket::Release() {
  if (gate_ != nullptr) gate_->Release(tenant_, cost_);
  gate_ = nullptr;
}

absl::StatusOr<AdmissionTicket> AdmissionGate::Enter(const std::string& tenant,
                                                     const scheduling::AdmissionCost& cost) {
  MutexLock lock(&mutex_);
  if (closed_) return absl::UnavailableError("the server is shutting down");
  const absl::Status status = admission_.Reserve(tenant, cost, clock_->Now());
  if (!status.ok()) return status;
  return AdmissionTicket(this, tenant, cost);
}

void AdmissionGate::LeaveRoom(bool leave) {
  MutexLock lock(&mutex_);
  admission_.LeaveRoom(leave);
}

void AdmissionGate::Close() {
  MutexLock lock(&mutex_);
  closed_ = true;
}

scheduling::AdmissionCost AdmissionGate::held() const {
  MutexLock lock(&mutex_);
  return admission_.held();
}

absl::Status AdmissionGate::Add(const std::string& tenant, const scheduling::AdmissionCost& cost,
                                const scheduling::AdmissionCost& already) {
  MutexLock lock(&mutex_);
  return admission_.Reserve(tenant, cost, clock_->Now(), already);
}

void AdmissionGate::Release(const std::string& tenant, const scheduling::AdmissionCost& cost) {
  MutexLock lock(&mutex_);
  admission_.Release(tenant, cost, clock_->Now());
}

}  // namespace llava::engine
