// The serving engine within this process, on a port of this machine that nobody else is told: what
// is evaluated runs as it will be served, in batches.
#ifndef LLAVA_TRAINING_COMMANDS_LOCAL_SERVER_H_
#define LLAVA_TRAINING_COMMANDS_LOCAL_SERVER_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "base/clock.h"
#include "training/endpoint/endpoint_options.h"

namespace llava::training {

struct LocalModel {
  std::string checkpoint;
  std::string chat_template;  // empty: the checkpoint's own
  std::string vision_tower;
  std::string device = "cpu";
};

// Main thread only.
class LocalServer {
 public:
  // Returns when the model answers. The errors of loading it.
  static absl::StatusOr<std::unique_ptr<LocalServer>> Start(const LocalModel& model);
  ~LocalServer();

  // How it is asked.
  EndpointOptions endpoint() const;

 private:
  struct Parts;
  explicit LocalServer(std::unique_ptr<Parts> parts);
  const std::unique_ptr<Parts> parts_;
};

// What identifies the weights: their version, or without a manifest where they lie.
std::string IdentityOf(const std::string& checkpoint);

}  // namespace llava::training

#endif  // LLAVA_TRAINING_COMMANDS_LOCAL_SERVER_H_
