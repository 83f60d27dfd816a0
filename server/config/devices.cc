#include "server/config/devices.h"

#include <optional>
#include <set>
#include <string_view>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/utf8_stream.h"

namespace llava::server {
namespace {

// The number of the GPU that a device is, -1 of a CPU; nullopt: it is no device.
std::optional<int> NumberOf(const std::string& device) {
  const std::string_view cuda = "cuda:";
  if (device == "cpu") return -1;
  if (device == "cuda") return 0;
  int number = -1;
  const bool is_gpu = device.starts_with(cuda) &&
                      absl::SimpleAtoi(device.substr(cuda.size()), &number) && number >= 0 &&
                      device == absl::StrCat("cuda:", number);
  return is_gpu ? std::optional(number) : std::nullopt;
}

}  // namespace

absl::Status CheckDevice(const std::string& entry) {
  std::set<int> numbers;
  for (const std::string& device : std::vector<std::string>(absl::StrSplit(entry, '+'))) {
    const std::optional<int> number = NumberOf(device);
    if (!number.has_value()) {
      return absl::InvalidArgumentError(
          absl::StrCat("devices: has '", Utf8Repair(entry),
                       "', expected cpu, cuda, cuda:N or a sum of such, cuda:0+cuda:1"));
    }
    const bool is_new = numbers.insert(*number).second;
    if (*numbers.begin() < 0 && *numbers.rbegin() >= 0) {
      return absl::InvalidArgumentError(
          absl::StrCat("devices: \"", entry,
                       "\" adds up devices of two kinds, expected CPUs alone or GPUs alone"));
    }
    if (!is_new && *number >= 0) {
      return absl::InvalidArgumentError(absl::StrCat("devices: \"", entry, "\" has cuda:", *number,
                                                     " twice, expected different GPUs"));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckWeights(const std::string& weights, const std::string& entry) {
  const bool is_cpu = entry.starts_with("cpu");
  if (is_cpu && weights == "fp8") {
    return absl::InvalidArgumentError(
        absl::StrCat("weights: fp8 is not served on the device ", entry,
                     ", only on GPUs of compute capability 8.9 and more; expected auto, int8 or "
                     "int4 (llava-train compare measures fp8 on CPUs)"));
  }
  if (!is_cpu && weights == "int4") {
    return absl::InvalidArgumentError(absl::StrCat("weights: int4 is not served on the device ",
                                                   entry,
                                                   ", only on CPUs; expected auto, int8 or fp8"));
  }
  return absl::OkStatus();
}

absl::Status CheckKvCache(const std::string& kv_cache, const std::string& entry) {
  const bool is_cpu = entry.starts_with("cpu");
  if (is_cpu && kv_cache == "fp8") {
    return absl::InvalidArgumentError(
        absl::StrCat("kv_cache: fp8 is not served on the device ", entry,
                     ", only on GPUs; expected auto or int8 (llava-train compare measures fp8 on "
                     "CPUs)"));
  }
  if (!is_cpu && kv_cache == "int8") {
    return absl::InvalidArgumentError(absl::StrCat("kv_cache: int8 is not served on the device ",
                                                   entry, ", only on CPUs; expected auto or fp8"));
  }
  return absl::OkStatus();
}

}  // namespace llava::server
