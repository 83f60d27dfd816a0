// What the entries of the setting `devices` may say.
#ifndef LLAVA_SERVER_CONFIG_DEVICES_H_
#define LLAVA_SERVER_CONFIG_DEVICES_H_

#include <string>

#include "absl/status/status.h"

namespace llava::server {

// INVALID_ARGUMENT, which names `devices`, where an entry is neither a device (cpu, cuda, cuda:N)
// nor a sum of devices of one kind that has no GPU twice. Nothing is said of whether they are
// there. Thread-safe.
absl::Status CheckDevice(const std::string& entry);

// INVALID_ARGUMENT, which names both, where no device of an entry's kind serves such `weights`.
// REQUIRES: CheckDevice(entry) is OK.
absl::Status CheckWeights(const std::string& weights, const std::string& entry);

// The same for `kv_cache`.
absl::Status CheckKvCache(const std::string& kv_cache, const std::string& entry);

}  // namespace llava::server

#endif  // LLAVA_SERVER_CONFIG_DEVICES_H_
