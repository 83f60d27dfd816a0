// What can be said of a checkpoint's weights before their tensors are loaded.
#ifndef LLAVA_SERVER_HOSTING_CHECKPOINT_WEIGHTS_H_
#define LLAVA_SERVER_HOSTING_CHECKPOINT_WEIGHTS_H_

#include <string>

#include "absl/status/status.h"
#include "model/config/config.h"

namespace llava::server {

// Opens the weight files of the checkpoint in `dir`, whose configuration is `config`, and those of
// its vision tower, and reads their headers. The errors of model::Checkpoint::Open: a file is
// missing or a link that leads nowhere, is cut, or lacks what the index places in it. Any thread.
absl::Status CheckWeightFiles(const std::string& dir, const model::LlavaConfig& config);

}  // namespace llava::server

#endif  // LLAVA_SERVER_HOSTING_CHECKPOINT_WEIGHTS_H_
