// What can be said of an adapter's folder before its tensors are loaded.
#ifndef LLAVA_SERVER_HOSTING_ADAPTER_FILES_H_
#define LLAVA_SERVER_HOSTING_ADAPTER_FILES_H_

#include <string>

#include "absl/status/status.h"
#include "model/config/config.h"

namespace llava::server {

// Reads adapter_config.json and the header of adapter_model.safetensors in `dir`. NOT_FOUND: one of
// them is missing; the errors of AdapterConfig and of ReadSafetensors; INVALID_ARGUMENT: shapes
// that are not of the rank that the configuration says; UNIMPLEMENTED: what llavad does not serve;
// FAILED_PRECONDITION: its products are not those of `text`, the base. nullptr: the base is not
// known yet. What the values are is seen when they are loaded. Any thread.
absl::Status CheckAdapterFiles(const std::string& dir, const model::TextConfig* text);

}  // namespace llava::server

#endif  // LLAVA_SERVER_HOSTING_ADAPTER_FILES_H_
