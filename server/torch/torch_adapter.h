// A LoRA adapter in the memory of every device that serves, or the part of it for what the device
// has of each layer.
#ifndef LLAVA_SERVER_TORCH_TORCH_ADAPTER_H_
#define LLAVA_SERVER_TORCH_TORCH_ADAPTER_H_

#include <c10/core/Device.h>

#include <utility>
#include <vector>

#include "base/check.h"
#include "base/digest.h"
#include "model/adapter/adapter.h"
#include "model/config/shard.h"
#include "server/scheduling/request.h"

namespace llava::engine {

// Immutable; any thread.
class TorchAdapter final : public scheduling::Adapter {
 public:
  struct OnDevice {
    at::Device device;
    model::LayerShard shard;
    model::Adapter adapter;
  };

  TorchAdapter(const Digest& digest, std::vector<OnDevice> devices)
      : digest_(digest), devices_(std::move(devices)) {}

  const Digest& digest() const override { return digest_; }

  // REQUIRES: it was loaded onto this device for this part of a model.
  const model::Adapter& on(at::Device device, const model::LayerShard& shard) const {
    for (const OnDevice& one : devices_) {
      if (one.device == device && one.shard == shard) return one.adapter;
    }
    LLAVA_CHECK(false);
    return devices_.front().adapter;
  }

 private:
  const Digest digest_;
  const std::vector<OnDevice> devices_;
};

}  // namespace llava::engine

#endif  // LLAVA_SERVER_TORCH_TORCH_ADAPTER_H_
