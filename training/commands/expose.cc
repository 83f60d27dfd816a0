#include "training/commands/expose.h"

#include <exception>

#include "absl/strings/str_cat.h"

namespace llava::training {

absl::StatusOr<std::unique_ptr<prometheus::Exposer>> Expose(
    const std::string& address, const std::shared_ptr<prometheus::Collectable>& metrics) {
  try {
    auto exposer = std::make_unique<prometheus::Exposer>(address);
    exposer->RegisterCollectable(metrics);
    return exposer;
  } catch (const std::exception& error) {  // civetweb's, which has no type of its own
    return absl::UnavailableError(absl::StrCat("metrics at ", address, ": ", error.what()));
  }
}

}  // namespace llava::training
