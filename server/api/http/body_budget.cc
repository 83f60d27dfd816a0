#include "server/api/http/body_budget.h"

#include <algorithm>

#include "base/check.h"

namespace llava::api {
namespace {

// A body is charged in such steps, so that one of small chunks does not ask for each.
constexpr std::int64_t kStep = 16 << 10;

template <typename Key>
std::int64_t HeldBy(const std::map<Key, std::int64_t>& owners, const Key& owner) {
  const auto found = owners.find(owner);
  return found == owners.end() ? 0 : found->second;
}

template <typename Key>
void GiveBack(const Key& owner, std::int64_t bytes, std::map<Key, std::int64_t>* owners) {
  const auto found = owners->find(owner);
  LLAVA_CHECK(found != owners->end());
  found->second -= bytes;
  LLAVA_CHECK_GE(found->second, 0);
  if (found->second == 0) owners->erase(found);
}

}  // namespace

bool BodyBudget::Charge(const BodyOwner& owner, std::int64_t bytes) {
  LLAVA_CHECK_GE(bytes, 0);
  const std::pair address(owner.token, owner.address);
  MutexLock lock(&mutex_);
  const std::int64_t left = total_ - held_ - bytes;
  const std::int64_t of_address = HeldBy(of_addresses_, address) + bytes;
  if (owner.token.empty()) {
    if (of_address > left) return false;
  } else if (HeldBy(of_tokens_, owner.token) + bytes > left || of_address > left / 2) {
    return false;
  }
  if (bytes == 0) return true;
  held_ += bytes;
  of_tokens_[owner.token] += bytes;
  of_addresses_[address] += bytes;
  return true;
}

void BodyBudget::Release(const BodyOwner& owner, std::int64_t bytes) {
  if (bytes == 0) return;
  MutexLock lock(&mutex_);
  held_ -= bytes;
  GiveBack(owner.token, bytes, &of_tokens_);
  GiveBack(std::pair(owner.token, owner.address), bytes, &of_addresses_);
}

std::int64_t BodyBudget::held() const {
  MutexLock lock(&mutex_);
  return held_;
}

BodyCharge& BodyCharge::operator=(BodyCharge&& other) noexcept {
  if (this == &other) return *this;
  Release();
  budget_ = std::exchange(other.budget_, nullptr);
  owner_ = std::move(other.owner_);
  bytes_ = std::exchange(other.bytes_, 0);
  return *this;
}

bool BodyCharge::GrowTo(std::int64_t bytes) {
  if (budget_ == nullptr || bytes <= bytes_) return true;
  const std::int64_t wanted = (bytes + kStep - 1) / kStep * kStep;
  if (!budget_->Charge(owner_, wanted - bytes_)) return false;
  bytes_ = wanted;
  return true;
}

void BodyCharge::Release() {
  if (budget_ != nullptr) budget_->Release(owner_, bytes_);
  bytes_ = 0;
}

}  // namespace llava::api
