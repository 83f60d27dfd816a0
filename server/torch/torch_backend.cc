#include "server/torch/torch_backend.h"

#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <set>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "model/adapter/adapter_weights.h"
#include "model/checkpoint/checkpoint.h"
#include "model/config/config.h"
#include "model/config/decoder_products.h"
#include "model/config/shard.h"
#include "model/network/checkpoint_writer.h"
#include "model/network/llava.h"
#include "model/ranks/thread_limit.h"
#include "server/config/devices.h"
#include "server/hosting/device_defaults.h"
#include "server/torch/device_memory.h"
#include "server/torch/torch_adapter.h"
#include "server/torch/torch_executor.h"

namespace llava::server {
namespace {

// The setting `devices` names it; nothing is said of whether it is there.
absl::StatusOr<at::Device> ParseDevice(const std::string& name) {
  try {
    const at::Device device(name);
    if (device.is_cpu()) return at::Device(at::kCPU);
    if (device.is_cuda()) return at::Device(at::kCUDA, device.has_index() ? device.index() : 0);
  } catch (const c10::Error&) {  // the answer below says it better
  }
  return absl::InvalidArgumentError(
      absl::StrCat("devices: \"", name, "\" is not a device, expected cpu, cuda or cuda:N"));
}

absl::Status CheckIsThere(const std::string& name, at::Device device) {
  const auto gpus = static_cast<int>(at::getNumGPUs());
  if (device.is_cpu() || device.index() < gpus) return absl::OkStatus();
  if (gpus == 0) {
    return absl::FailedPreconditionError(
        absl::StrCat("devices: \"", name,
                     "\": no GPU is seen here; to see one, the program must be "
                     "built with the CMake preset cuda"));
  }
  return absl::InvalidArgumentError(
      absl::StrCat("devices: \"", name, "\" is GPU ", static_cast<int>(device.index()),
                   ", expected a number less than ", gpus, ": so many are seen here"));
}

// Those of an entry of `devices`, which may be a sum, by rank.
absl::StatusOr<std::vector<at::Device>> OpenDevices(const std::string& entry) {
  RETURN_IF_ERROR(CheckDevice(entry));
  std::vector<at::Device> devices;
  for (const std::string& name : RanksOf(entry)) {
    ASSIGN_OR_RETURN(const at::Device device, ParseDevice(name));
    devices.push_back(device);
  }
  for (const at::Device device : devices) RETURN_IF_ERROR(CheckIsThere(entry, device));
  return devices;
}

absl::StatusOr<at::ScalarType> ChooseDtype(const Config& config, const std::string& dir) {
  if (config.dtype == "float32") return at::kFloat;
  if (config.dtype == "bfloat16") return at::kBFloat16;
  ASSIGN_OR_RETURN(const model::LlavaConfig llava, model::ReadConfig(dir, config.vision_tower));
  return llava.dtype == "float32" ? at::kFloat : at::kBFloat16;
}

// Of the KV cache of models that compute in `dtype`.
at::ScalarType ChooseKvDtype(const Config& config, at::ScalarType dtype) {
  if (config.kv_cache == "int8") return at::kChar;
  return config.kv_cache == "fp8" ? at::kFloat8_e4m3fn : dtype;
}

// Behind the weights' format.
std::string KvSuffix(at::ScalarType kv_dtype) {
  if (kv_dtype == at::kChar) return "-kv_int8";
  return kv_dtype == at::kFloat8_e4m3fn ? "-kv_fp8" : "";
}

// `weights`: their format.
BackendModel DescribeModel(const model::TextConfig& text, at::ScalarType dtype,
                           at::ScalarType kv_dtype, const std::string& weights, at::Device device) {
  return {.model = nullptr,
          .dtype = absl::StrCat(weights, KvSuffix(kv_dtype)),
          .block_bytes = model::KvCache::BlockBytes(engine::KvShapeOf(text, kv_dtype, device)),
          .feature_bytes_per_token = engine::FeatureBytesPerToken(text, dtype)};
}

bool WantsGraphs(const Config& config, const engine::TorchModel& model) {
  return config.cuda_graphs == "auto" && model.ranks() == 1 && model.device(0).is_cuda();
}

std::string NameOf(at::ScalarType dtype) { return dtype == at::kFloat ? "float32" : "bfloat16"; }

model::Quantization ChooseQuantization(const Config& config) {
  return model::QuantizationOf(config.weights).value_or(model::Quantization::kNone);
}

}  // namespace

absl::Status TorchBackend::Verify(const Config& config, const std::string& dir, int threads) {
  const model::ThreadLimit limit(threads);
  // Onto the device that has shapes but no memory.
  return model::Llava::Load(dir, {.dtype = at::kBFloat16,
                                  .device = at::kMeta,
                                  .vision_tower_dir = config.vision_tower,
                                  .verify = true})
      .status();
}

absl::StatusOr<std::int64_t> TorchBackend::MemoryFor(const Config& config, const std::string& dir,
                                                     const std::string& device) {
  ASSIGN_OR_RETURN(const at::ScalarType dtype, ChooseDtype(config, dir));
  ASSIGN_OR_RETURN(const model::LlavaConfig llava, model::ReadConfig(dir, config.vision_tower));
  ASSIGN_OR_RETURN(const model::Checkpoint checkpoint,
                   model::Checkpoint::Open(dir, llava.vision_tower_dir, llava.foreign_codes));
  // Beside the packed weights: what a layer is read into, and a copy of it in another dtype.
  const model::WeightMemory memory =
      model::ServedMemory(checkpoint, ChooseQuantization(config), dtype, !IsCpu(device));
  // The first device has all but the others' parts of the layers; CPUs have one memory.
  const auto ranks = static_cast<std::int64_t>(IsCpu(device) ? 1 : RanksOf(device).size());
  return memory.all - memory.layers + memory.layers / ranks + 2 * memory.largest;
}

absl::StatusOr<DeviceMemory> TorchBackend::MemoryOf(const std::string& device) {
  ASSIGN_OR_RETURN(const std::vector<at::Device> devices, OpenDevices(device));
  DeviceMemory least;
  for (const at::Device one : devices) {
    ASSIGN_OR_RETURN(const DeviceMemory memory, MemoryOfDevice(one));
    if (one == devices.front() || memory.free < least.free) least = memory;
  }
  return least;
}

absl::StatusOr<BackendModel> TorchBackend::Describe(const Config& config, const std::string& dir,
                                                    const std::string& device) {
  ASSIGN_OR_RETURN(const std::vector<at::Device> devices, OpenDevices(device));
  ASSIGN_OR_RETURN(const at::ScalarType dtype, ChooseDtype(config, dir));
  ASSIGN_OR_RETURN(const model::LlavaConfig llava, model::ReadConfig(dir, config.vision_tower));
  const at::ScalarType kv_dtype = ChooseKvDtype(config, dtype);
  const auto ranks = static_cast<int>(devices.size());
  RETURN_IF_ERROR(model::CheckShards(llava.text, ranks));
  return DescribeModel(model::ShardOf(llava.text, ranks), dtype, kv_dtype, NameOf(dtype),
                       devices.front());
}

absl::StatusOr<std::int64_t> TorchBackend::MeasureStep(const Config& config,
                                                       const engine::LoadedModel& model,
                                                       int tokens) {
  const auto& torch_model = static_cast<const engine::TorchModel&>(model);
  ASSIGN_OR_RETURN(const std::int64_t step, MeasureStepOn(torch_model, tokens));
  if (!WantsGraphs(config, torch_model)) return step;
  ASSIGN_OR_RETURN(const DeviceMemory memory, MemoryOfDevice(torch_model.device(0)));
  return step + GraphBytes(memory.total);
}

absl::StatusOr<BackendModel> TorchBackend::Load(const Config& config, const LoadRequest& request) {
  at::set_num_threads(ChooseThreads(config));
  ASSIGN_OR_RETURN(const std::vector<at::Device> devices, OpenDevices(request.device));
  ASSIGN_OR_RETURN(const at::ScalarType dtype, ChooseDtype(config, request.dir));
  RETURN_IF_ERROR(CheckKvCache(config.kv_cache, devices.front().str()));
  const at::ScalarType kv_dtype = ChooseKvDtype(config, dtype);
  const model::ThreadLimit limit(request.threads);
  const auto ranks = static_cast<int>(devices.size());
  model::LoadOptions options = {.dtype = dtype,
                                .device = devices.front(),
                                .vision_tower_dir = config.vision_tower,
                                .pack = true,
                                .quantization = ChooseQuantization(config),
                                .shard = {.rank = 0, .size = ranks}};
  ASSIGN_OR_RETURN(std::shared_ptr<const model::Llava> llava,
                   model::Llava::Load(request.dir, options));
  std::vector<std::shared_ptr<const model::DecoderLayers>> others;
  for (int rank = 1; rank < ranks; ++rank) {
    options.device = devices[static_cast<std::size_t>(rank)];
    options.shard.rank = rank;
    ASSIGN_OR_RETURN(others.emplace_back(), model::Llava::LoadLayers(request.dir, options));
  }
  const model::Quantization held = llava->quantization();
  const std::string weights =
      held == model::Quantization::kNone ? NameOf(dtype) : model::QuantizationName(held);
  BackendModel loaded = DescribeModel(model::ShardOf(llava->config().text, ranks), dtype, kv_dtype,
                                      weights, devices.front());
  loaded.encoder_parts = engine::ImageEncoder::Parts(*llava);
  loaded.model = std::make_shared<engine::TorchModel>(request.version, std::move(llava), kv_dtype,
                                                      std::move(others));
  return loaded;
}

absl::StatusOr<registry::LoadedAdapter> TorchBackend::LoadAdapter(const Config& config,
                                                                  const std::string& dir,
                                                                  const model::TextConfig& text,
                                                                  std::int64_t max_bytes) {
  const model::ThreadLimit limit(static_cast<int>(config.load_threads));
  // Several engines on one device share it.
  const std::set<std::string> names(config.devices.begin(), config.devices.end());
  const auto copies = static_cast<std::int64_t>(names.size());
  try {
    ASSIGN_OR_RETURN(const model::AdapterWeights weights,
                     model::ReadAdapter(dir, max_bytes / copies));
    if (weights.dora) {
      return absl::UnimplementedError(absl::StrCat(
          dir,
          ": use_dora is true, and such an adapter scales its base's weights, which is not "
          "done beside them: llava-train merge writes a checkpoint of both"));
    }
    RETURN_IF_ERROR(Annotate(model::CheckFits(weights.adapted(), text), dir));
    std::vector<engine::TorchAdapter::OnDevice> on_devices;
    std::int64_t bytes = 0;
    for (const std::string& name : names) {
      ASSIGN_OR_RETURN(const std::vector<at::Device> devices, OpenDevices(name));
      const auto ranks = static_cast<int>(devices.size());
      for (int rank = 0; rank < ranks; ++rank) {
        const at::Device device = devices[static_cast<std::size_t>(rank)];
        const model::LayerShard shard{.rank = rank, .size = ranks};
        const model::AdapterWeights part = model::ShardOf(weights, text, shard);
        bytes += part.bytes;
        on_devices.push_back(
            {device, shard, model::Adapter(part, model::ShardOf(text, ranks), device)});
      }
    }
    return registry::LoadedAdapter{
        .adapter = std::make_shared<engine::TorchAdapter>(weights.digest, std::move(on_devices)),
        .base = weights.base,
        .targets = weights.targets,
        .rank = weights.rank,
        .bytes = bytes};
  } catch (const c10::Error& error) {
    return absl::ResourceExhaustedError(
        absl::StrCat("loading ", dir, ": ", error.what_without_backtrace()));
  }
}

absl::StatusOr<std::unique_ptr<engine::Executor>> TorchBackend::MakeExecutor(
    const Config& config, const std::string&, const engine::LoadedModel& model, int num_blocks) {
  const auto& torch_model = static_cast<const engine::TorchModel&>(model);
  engine::StepGraphs::Options graphs;
  if (WantsGraphs(config, torch_model)) {
    ASSIGN_OR_RETURN(const DeviceMemory memory, MemoryOfDevice(torch_model.device(0)));
    graphs = {.backend = engine::GraphsOf(torch_model.device(0)),
              .max_bytes = GraphBytes(memory.total)};
  }
  return engine::TorchExecutor::Create(torch_model.kv_shapes(), num_blocks, ChooseThreads(config),
                                       std::move(graphs));
}

}  // namespace llava::server
