// A LoRA adapter in the memory of every device that serves.
#ifndef LLAVA_SERVER_TORCH_TORCH_ADAPTER_H_
#define LLAVA_SERVER_TORCH_TORCH_ADAPTER_H_

#include <c10/core/Device.h>

#include <utility>
#include <vector>

#include "base/check.h"
#include "base/digest.h"
#include "model/adapter/adapter.h"
#include "server/scheduling/request.h"

namespace llava::engine {

// Immutable; any thread.
class TorchAdapter final : public scheduling::Adapter {
 public:
  using OnDevice = std::pair<at::Device, model::Adapter>;

  TorchAdapter(const Digest& digest, std::vector<OnDevice> devices)
      : digest_(digest), devices_(std::move(devices)) {}

  const Digest& digest() const override { return digest_; }

  // REQUIRES: it was loaded onto this device.
  const model::Adapter& on(at::Device device) const {
    for (const auto& [own, adapter] : devices_) {
      if (own == device) return adapter;
    }
    LLAVA_CHECK(false);
    return devices_.front().second;
  }

 private:
  const Digest digest_;
  const std::vector<OnDevice> devices_;
};

}  // namespace llava::engine

#endif  // LLAVA_SERVER_TORCH_TORCH_ADAPTER_H_
