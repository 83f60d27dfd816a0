#include "server/torch_backend.h"

#include <ATen/Parallel.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/digest.h"
#include "base/status_macros.h"
#include "model/config.h"
#include "model/llava.h"
#include "model/manifest.h"
#include "server/engine/torch_executor.h"

namespace llava::server {
namespace {

absl::StatusOr<at::Device> ParseDevice(const std::string& name) {
  try {
    const at::Device device(name);
    if (device.is_cpu() || device.is_cuda()) return device;
  } catch (const c10::Error&) {  // the answer below says it better
  }
  return absl::InvalidArgumentError(
      absl::StrCat("devices: \"", name, "\" is not a device, expected cpu, cuda or cuda:N"));
}

absl::StatusOr<at::ScalarType> ChooseDtype(const Config& config) {
  if (config.dtype == "float32") return at::kFloat;
  if (config.dtype == "bfloat16") return at::kBFloat16;
  ASSIGN_OR_RETURN(const model::LlavaConfig llava,
                   model::ReadConfig(config.checkpoint, config.vision_tower));
  return llava.dtype == "float32" ? at::kFloat : at::kBFloat16;
}

// A published checkpoint is named by its manifest. Any other is named by what its files look like
// from outside: enough to tell versions apart, without reading gigabytes.
absl::StatusOr<Digest> VersionDigest(const std::string& dir) {
  const auto manifest = model::ReadManifest(dir);
  if (manifest.ok()) {
    // The manifest's own name, so that answers and published folders call a version the same.
    Digest digest;
    const std::string bytes = absl::HexStringToBytes(manifest->version);
    LLAVA_CHECK_EQ(bytes.size(), digest.bytes.size());
    std::memcpy(digest.bytes.data(), bytes.data(), bytes.size());
    return digest;
  }
  if (!absl::IsNotFound(manifest.status())) return manifest.status();
  std::vector<std::string> files;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(dir, error)) {
    if (!entry.is_regular_file(error)) continue;
    files.push_back(absl::StrCat(entry.path().filename().string(), " ", entry.file_size(error), " ",
                                 entry.last_write_time(error).time_since_epoch().count(), "\n"));
  }
  if (error) return absl::NotFoundError(absl::StrCat(dir, ": ", error.message()));
  std::sort(files.begin(), files.end());
  Sha256 digest;
  for (const std::string& file : files) digest.Update(file);
  return digest.Finish();
}

}  // namespace

absl::StatusOr<BackendModel> TorchBackend::Load(const Config& config,
                                                const std::string& device_name) {
  if (config.threads > 0) at::set_num_threads(static_cast<int>(config.threads));
  ASSIGN_OR_RETURN(const at::Device device, ParseDevice(device_name));
  ASSIGN_OR_RETURN(const at::ScalarType dtype, ChooseDtype(config));
  ASSIGN_OR_RETURN(const Digest version, VersionDigest(config.checkpoint));
  ASSIGN_OR_RETURN(std::shared_ptr<const model::Llava> llava,
                   model::Llava::Load(config.checkpoint, {.dtype = dtype,
                                                          .device = device,
                                                          .vision_tower_dir = config.vision_tower,
                                                          .pack = true}));
  auto model = std::make_shared<engine::TorchModel>(version, std::move(llava));
  return BackendModel{.model = model,
                      .dtype = dtype == at::kFloat ? "float32" : "bfloat16",
                      .block_bytes = model::KvCache::BlockBytes(model->kv_shape()),
                      .feature_bytes_per_token = model->feature_bytes_per_token()};
}

absl::StatusOr<std::unique_ptr<engine::Executor>> TorchBackend::MakeExecutor(
    const Config&, const std::string&, const BackendModel& model, int num_blocks) {
  const auto& torch_model = static_cast<const engine::TorchModel&>(*model.model);
  return engine::TorchExecutor::Create(torch_model.kv_shape(), num_blocks);
}

}  // namespace llava::server
