#include "model/ranks/c10d_backend.h"

#include <c10/util/Exception.h>

#include <chrono>
#include <cstdlib>
#include <memory>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>

#include "absl/strings/str_cat.h"
#include "base/check.h"

#ifdef USE_C10D_NCCL
#include <torch/csrc/distributed/c10d/ProcessGroupNCCL.hpp>
#endif

namespace llava::model {
namespace {

using Backend = c10::intrusive_ptr<c10d::Backend>;

// The network device that reaches the others: the one that is named, loopback where rank 0 is
// there, else the one of this machine's name.
std::shared_ptr<::gloo::transport::Device> GlooDevice(const std::string& address) {
  const char* interface = std::getenv("GLOO_SOCKET_IFNAME");
  if (interface != nullptr) return c10d::ProcessGroupGloo::createDeviceForInterface(interface);
  if (address == "localhost" || address == "::1" || address.starts_with("127.")) {
    return c10d::ProcessGroupGloo::createDeviceForHostname(address);
  }
  return c10d::ProcessGroupGloo::createDefaultDevice();
}

}  // namespace

void TurnOffFlightRecorder() {
  LLAVA_CHECK(::setenv("TORCH_FR_BUFFER_SIZE", "0", /*overwrite=*/1) == 0);
}

absl::StatusOr<Backend> MakeC10dBackend(const c10::intrusive_ptr<c10d::Store>& store,
                                        const C10dPlace& place) {
  const auto timeout = std::chrono::duration_cast<std::chrono::milliseconds>(place.timeout);
  if (place.device.is_cpu()) {
    auto options = c10d::ProcessGroupGloo::Options::create(timeout);
    options->devices.push_back(GlooDevice(place.address));
    return Backend(
        c10::make_intrusive<c10d::ProcessGroupGloo>(store, place.rank, place.size, options));
  }
#ifdef USE_C10D_NCCL
  auto options = c10d::ProcessGroupNCCL::Options::create();
  options->timeout = timeout;
  return Backend(
      c10::make_intrusive<c10d::ProcessGroupNCCL>(store, place.rank, place.size, options));
#else
  return absl::FailedPreconditionError(
      absl::StrCat("device ", place.device.str(),
                   ": this program was built without NCCL, which several ranks on GPUs need"));
#endif
}

std::string WhatOf(const std::exception& error) {
  const auto* torch_error = dynamic_cast<const c10::Error*>(&error);
  return torch_error != nullptr ? torch_error->what_without_backtrace() : error.what();
}

}  // namespace llava::model
