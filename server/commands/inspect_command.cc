#include "server/commands/inspect_command.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "base/field_error.h"
#include "base/status_macros.h"
#include "model/adapter/adapter_weights.h"
#include "model/checkpoint/adapter_config.h"
#include "model/checkpoint/checkpoint.h"
#include "model/checkpoint/coded_weight.h"
#include "model/checkpoint/foreign_folder.h"
#include "model/checkpoint/manifest.h"
#include "model/checkpoint/weight_files.h"
#include "model/config/config.h"
#include "model/config/hub_folder.h"
#include "model/config/image_layout.h"
#include "model/image/preprocess.h"
#include "model/network/checkpoint_writer.h"
#include "model/network/llava.h"
#include "model/text/chat_template.h"
#include "model/text/tokenizer.h"
#include "server/config/config.h"
#include "server/hosting/device_defaults.h"
#include "server/hosting/serving_plan.h"

namespace llava {
namespace {

constexpr std::int64_t kMaxAdapterBytes = std::int64_t{16} << 30;
constexpr int kCacheElementBytes = 2;  // the KV cache is bf16

// Text with lines "name  value", and the problems met on the way.
class Report {
 public:
  void Line(const char* name, const std::string& value) {
    absl::StrAppendFormat(&inspection_.text, "%-14s %s\n", name, value);
  }

  void Problem(const std::string& what) { inspection_.problems.push_back(what); }

  // The value, or nothing after noting the problem.
  template <typename T>
  std::optional<T> Check(absl::StatusOr<T> value) {
    if (value.ok()) return *std::move(value);
    Problem(MessageOf(value.status()));
    return std::nullopt;
  }

  Inspection Finish() && {
    if (inspection_.problems.empty()) Line("problems", "none");
    for (const std::string& problem : inspection_.problems) Line("problem", problem);
    return std::move(inspection_);
  }

 private:
  Inspection inspection_;
};

std::string Bytes(std::uint64_t bytes) {
  if (bytes < 1'000'000) return absl::StrFormat("%.1f kB", static_cast<double>(bytes) / 1e3);
  if (bytes < 1'000'000'000) return absl::StrFormat("%.1f MB", static_cast<double>(bytes) / 1e6);
  return absl::StrFormat("%.2f GB", static_cast<double>(bytes) / 1e9);
}

std::string Millions(std::uint64_t count) {
  return absl::StrFormat("%.1f M", static_cast<double>(count) / 1e6);
}

const char* FamilyName(model::Architecture architecture) {
  switch (architecture) {
    case model::Architecture::kLlava:
      return "LLaVA";
    case model::Architecture::kVipLlava:
      return "VipLLaVA";
    case model::Architecture::kLlavaNext:
      return "LLaVA-1.6 (llava_next)";
    case model::Architecture::kOnevision:
      return "LLaVA-OneVision";
  }
  return "";
}

// How many tokens a picture has: of some sizes where the size matters.
void DescribeTokens(const model::LlavaConfig& config, Report& report) {
  const int side = config.vision.image_size;
  if (!config.has_tiles()) {
    return report.Line("image tokens",
                       absl::StrCat(model::LayoutOf(config, {side, side}).tokens,
                                    " for each picture, id ", config.image_token_id));
  }
  std::string text;
  for (const model::ImageSize size : {model::ImageSize{side, side},
                                      {1024, 768},
                                      {768, 1024},
                                      {1920, 1080},
                                      {4000, 3000},
                                      {4000, 500}}) {
    const model::ImageLayout layout = model::LayoutOf(config, size);
    absl::StrAppend(&text, layout.tokens, " for ", size.width, " x ", size.height, " px (",
                    layout.tiles, " tiles), ");
  }
  report.Line("image tokens", absl::StrCat(text, "id ", config.image_token_id));
}

std::string WindowText(const model::TextConfig& text) {
  const int window = model::WindowOf(text);
  if (window == 0) return "";
  const auto layers = text.num_layers - std::ranges::count(text.windows, 0);
  return absl::StrCat("; a sliding window of ", window, " tokens in ", layers, " of its layers");
}

void DescribeArchitecture(const model::LlavaConfig& config, Report& report) {
  const model::VisionConfig& vision = config.vision;
  const model::TextConfig& text = config.text;
  report.Line("architecture",
              config.layout == model::Layout::kOriginal
                  ? "LLaVA, original layout"
                  : absl::StrCat(FamilyName(config.architecture), ", Hugging Face layout"));
  report.Line(
      "vision tower",
      absl::StrCat(vision.tower == model::VisionConfig::Tower::kClip ? "CLIP, " : "SigLIP, ",
                   vision.num_layers, " layers, ", vision.hidden_size, " wide, ", vision.num_heads,
                   " heads, ", vision.image_size, " px in patches of ", vision.patch_size,
                   "; layer ", absl::StrJoin(config.feature_layers, ", "),
                   config.select == model::SelectStrategy::kKeepClassToken
                       ? " with the class token"
                       : " without the class token"));
  report.Line("projector", absl::StrCat(config.projector.depth, " linear layers, ",
                                        config.projector_input_size(), " -> ", text.hidden_size));
  const std::string_view why = model::ContextBoundText(text.context_bound);
  report.Line(
      "language model",
      absl::StrCat(text.model_type, ", ", text.num_layers, " layers, ", text.hidden_size, " wide, ",
                   text.num_heads, " heads of ", text.head_dim, " (", text.num_kv_heads,
                   " for keys and values), inner ", text.intermediate_size, ", vocabulary ",
                   text.vocab_size, ", context ", text.max_positions, " tokens",
                   why.empty() ? "" : ": ", std::string(why), WindowText(text)));
  DescribeTokens(config, report);
}

// The memory of the weights by the setting `weights`.
std::string ServedText(const model::LlavaConfig& config, const model::Checkpoint& checkpoint) {
  const at::ScalarType dtype = config.dtype == "float32" ? at::kFloat : at::kBFloat16;
  const auto memory = [&](model::Quantization quantization, bool on_gpu = false) {
    return Bytes(model::ServedMemory(checkpoint, quantization, dtype, on_gpu).all);
  };
  if (config.quantization != model::Quantization::kNone) {
    return absl::StrCat("weights as stored, ", model::QuantizationName(config.quantization), ", ",
                        memory(config.quantization), "; on ",
                        config.quantization == model::Quantization::kInt8
                            ? absl::StrCat("GPUs ", memory(config.quantization, /*on_gpu=*/true))
                            : "CPUs only");
  }
  return absl::StrCat("weights auto (", dtype == at::kFloat ? "float32" : "bfloat16", ") ",
                      memory(model::Quantization::kNone), ", int8 ",
                      memory(model::Quantization::kInt8), ", int4 ",
                      memory(model::Quantization::kInt4), "; on GPUs int8 ",
                      memory(model::Quantization::kInt8, /*on_gpu=*/true), ", fp8 ",
                      memory(model::Quantization::kFp8, /*on_gpu=*/true));
}

// Whether they can be served as asked.
void CheckServedAs(const InspectOptions& options, const model::LlavaConfig& config,
                   Report& report) {
  if (options.weights == "auto") return;
  const auto asked = model::QuantizationOf(options.weights);
  if (!asked || *asked == model::Quantization::kNone) {
    return report.Problem(
        absl::StrCat("--weights is \"", options.weights, "\", expected auto, int8, int4 or fp8"));
  }
  const absl::Status fits = model::CheckQuantization(options.directory, config, *asked);
  if (!fits.ok()) report.Problem(MessageOf(fits));
}

// Parameters by part and dtype, and the memory of weights and cache.
void DescribeWeights(const model::LlavaConfig& config, const model::Checkpoint& checkpoint,
                     Report& report) {
  std::uint64_t vision = 0;
  std::uint64_t projector = 0;
  std::uint64_t language = 0;
  std::uint64_t bytes = 0;
  int coded = 0;
  std::map<std::string, int> dtypes;
  for (const auto& [name, tensor] : checkpoint.tensors()) {
    const std::uint64_t count = model::CheckedByteSize(tensor.stored.shape, 1).value_or(0);
    bytes += model::StoredBytes(tensor);
    coded += tensor.coded != nullptr ? 1 : 0;
    ++dtypes[tensor.coded != nullptr ? "codes" : model::DTypeName(tensor.stored.dtype)];
    (absl::StartsWith(name, model::kVisionPrefix)      ? vision
     : absl::StartsWith(name, model::kProjectorPrefix) ? projector
                                                       : language) += count;
  }
  report.Line("parameters", absl::StrCat(Millions(vision + projector + language), " (vision tower ",
                                         Millions(vision), ", projector ", Millions(projector),
                                         ", language model ", Millions(language), ")"));
  report.Line("dtype", absl::StrJoin(dtypes, ", ", [](std::string* out, const auto& item) {
                absl::StrAppend(out, item.first, " (", item.second, " tensors)");
              }));
  if (config.foreign_codes) {
    report.Line("quantised", absl::StrCat(model::ForeignCodesText(*config.foreign_codes), "; ",
                                          coded, " matrices"));
  }
  const auto token_bytes = std::uint64_t{2} * kCacheElementBytes *
                           static_cast<std::uint64_t>(config.text.num_layers) *
                           static_cast<std::uint64_t>(config.text.num_kv_heads) *
                           static_cast<std::uint64_t>(config.text.head_dim);
  report.Line(
      "memory",
      absl::StrCat("weights ", Bytes(bytes), "; KV cache ", token_bytes, " bytes a token, ",
                   Bytes(token_bytes * static_cast<std::uint64_t>(config.text.max_positions)),
                   " for a full context (bfloat16)"));
  report.Line("served", ServedText(config, checkpoint));
  report.Line("names", model::NameLayoutText(checkpoint.layout()));
  report.Line("files", absl::StrJoin(checkpoint.files(), "\n               "));
}

void DescribeText(const InspectOptions& options, const model::LlavaConfig& config, Report& report) {
  const auto tokenizer = report.Check(model::Tokenizer::Load(options.directory, config.layout));
  if (tokenizer.has_value()) {
    report.Line("tokenizer",
                absl::StrCat(tokenizer->vocab_size(), " tokens, BOS ", tokenizer->bos_id(),
                             ", EOS ", absl::StrJoin(config.text.eos_token_ids, ", ")));
    const absl::Status fits = tokenizer->CheckFits(config.text.vocab_size);
    if (!fits.ok()) report.Problem(absl::StrCat(options.directory, ": ", fits.message()));
    const std::string beyond = tokenizer->BeyondEmbedding(config.text.vocab_size);
    if (!beyond.empty()) report.Line("warning", beyond);
  }
  const auto chat = report.Check(model::ChatTemplate::ForCheckpoint(options.directory, config));
  if (!chat.has_value()) return;
  report.Line("template", chat->is_executed() ? absl::StrCat(chat->name(), ", executed")
                                              : absl::StrCat(chat->name(), " (built in)"));
}

// What becomes of a picture that does not have this shape.
const char* FitOf(const model::PreprocessSettings& settings, const model::LlavaConfig& config) {
  if (config.has_tiles()) return "tiles, and one of the whole picture, stretched";
  if (settings.aspect == model::ImageAspect::kPad) return "padded to a square";
  return settings.shortest_edge == 0 ? "stretched to it" : "cropped at the centre";
}

void DescribeImages(const InspectOptions& options, const model::LlavaConfig& config,
                    Report& report) {
  const auto settings = report.Check(model::ReadPreprocessSettings(options.directory, config));
  if (!settings.has_value()) return;
  report.Line("pictures", absl::StrCat(settings->image_size, " x ", settings->image_size, " px, ",
                                       FitOf(*settings, config)));
}

// Loads onto the device that has shapes but no memory: checks every name and shape.
void CheckWeights(const InspectOptions& options, Report& report) {
  const auto model =
      model::Llava::Load(options.directory, {.dtype = at::kBFloat16,
                                             .device = at::kMeta,
                                             .vision_tower_dir = options.vision_tower_dir,
                                             .verify = options.verify});
  if (!model.ok()) report.Problem(MessageOf(model.status()));
}

void DescribeCheckpoint(const InspectOptions& options, const model::LlavaConfig& config,
                        Report& report) {
  const auto checkpoint = report.Check(
      model::Checkpoint::Open(options.directory, config.vision_tower_dir, config.foreign_codes));
  if (!checkpoint.has_value()) return;
  DescribeWeights(config, *checkpoint, report);
  if (config.text.tie_embeddings && !checkpoint->IsHeadTied(true)) {
    report.Line("warning",
                "config.json: tie_word_embeddings is true, but the weights have an lm_head that "
                "differs from the embedding: both are used, as if it were false");
  }
  CheckServedAs(options, config, report);
  CheckWeights(options, report);
}

// Which version the folder is, and with --verify whether its files are those of the manifest.
void DescribeVersion(const InspectOptions& options, Report& report) {
  const auto version = model::ReadManifest(options.directory);
  if (absl::IsNotFound(version.status())) return report.Line("version", "none: no manifest.json");
  if (!version.ok()) return report.Problem(MessageOf(version.status()));
  report.Line("version", version->version);
  if (!options.verify) return;
  const absl::Status files = model::VerifyFiles(version->manifest, options.directory);
  if (!files.ok()) return report.Problem(MessageOf(files));
  report.Line("files", absl::StrCat(version->manifest.files.size(), ", as the manifest says"));
}

// Not beside weights of a whole model: then the folder is one.
bool IsAdapter(const std::string& directory) {
  std::error_code error;
  return std::filesystem::exists(absl::StrCat(directory, "/", model::kAdapterConfigName), error) &&
         !model::FindWeightFiles(directory).ok();
}

void DescribeAdapter(const std::string& directory, Report& report) {
  const auto adapter = report.Check(model::ReadAdapter(directory, kMaxAdapterBytes));
  if (!adapter.has_value()) return;
  report.Line("adapter", adapter->dora ? "LoRA with magnitudes (DoRA), in PEFT's layout"
                                       : "LoRA, in PEFT's layout");
  report.Line("base", adapter->base.empty() ? "not named" : adapter->base);
  report.Line("rank", absl::StrCat("rank ", adapter->rank, ", the greatest of ",
                                   adapter->products.size(), " matrices"));
  report.Line("targets", adapter->targets);
  std::map<std::string, std::string> shapes;
  int layers = 0;
  for (const model::AdaptedWeights& one : adapter->products) {
    shapes[one.product.name] = absl::StrCat("[", one.product.out, ", ", one.product.in, "]");
    layers = std::max(layers, one.product.layer + 1);
  }
  report.Line("for", absl::StrCat(layers, " layers or more, ",
                                  absl::StrJoin(shapes, ", ", absl::PairFormatter(" "))));
  report.Line("memory", adapter->dora
                            ? "none: served merged alone, by llava-train merge"
                            : absl::StrCat(Bytes(static_cast<std::uint64_t>(adapter->bytes)),
                                           " served, in float32"));
  report.Line("digest", adapter->digest.Hex());
}

}  // namespace

Inspection Inspect(const InspectOptions& options) {
  Report report;
  report.Line(IsAdapter(options.directory) ? "folder" : "checkpoint", options.directory);
  if (IsAdapter(options.directory)) {
    DescribeAdapter(options.directory, report);
    return std::move(report).Finish();
  }
  const std::vector<std::string> foreign = model::DescribeForeignFolder(options.directory);
  for (const std::string& what : foreign) report.Problem(what);
  auto read = model::ReadConfig(options.directory, options.vision_tower_dir);
  // What the folder is explains why files are missing in it, or are none of theirs.
  if (!read.ok() && !foreign.empty()) return std::move(report).Finish();
  const auto config = report.Check(std::move(read));
  if (!config.has_value()) return std::move(report).Finish();
  report.Line("name", config->name);
  DescribeVersion(options, report);
  DescribeArchitecture(*config, report);
  if (foreign.empty()) DescribeCheckpoint(options, *config, report);
  DescribeText(options, *config, report);
  DescribeImages(options, *config, report);
  return std::move(report).Finish();
}

namespace {

// What --plan prints. Nothing for a checkpoint that could not be served anyway.
absl::StatusOr<std::string> Plan(const InspectOptions& options,
                                 const std::vector<std::int64_t>& gpu_gib,
                                 server::Backend& backend) {
  server::Config config;
  config.vision_tower = options.vision_tower_dir;
  std::vector<std::int64_t> gpu_bytes;
  for (const std::int64_t gib : gpu_gib) gpu_bytes.push_back(gib << 30);
  ASSIGN_OR_RETURN(const auto services,
                   server::PlanServices(config, options.directory, backend, gpu_bytes));
  ASSIGN_OR_RETURN(const model::LlavaConfig llava,
                   model::ReadConfig(options.directory, options.vision_tower_dir));
  return absl::StrCat("\n",
                      server::ServingPlanText(services, server::ContextTokens(config, llava)));
}

}  // namespace

void AddInspectCommand(CLI::App& app, server::Backend* backend, int* exit_code) {
  constexpr std::int64_t kMostGiB = 4096;
  auto options = std::make_shared<InspectOptions>();
  auto plan = std::make_shared<bool>(false);
  auto gpu_gib =
      std::make_shared<std::vector<std::int64_t>>(std::vector<std::int64_t>{24, 48, 80, 141});
  CLI::App* command = app.add_subcommand("inspect", "Say what a checkpoint is and what is wrong");
  command->add_option("DIR", options->directory, "Checkpoint directory")
      ->required()
      ->transform(CLI::Validator(model::TakeSnapshot, ""));
  command->add_option("--vision-tower", options->vision_tower_dir,
                      "CLIP directory of a checkpoint in the original layout");
  command->add_option("--weights", options->weights, "Bits that the weights are to be served with")
      ->check(CLI::IsMember({"auto", "int8", "int4", "fp8"}))
      ->capture_default_str();
  command->add_flag("--verify", options->verify,
                    "Read every file: its SHA-256 in the manifest, NaN and infinite weights");
  command->add_flag("--plan", *plan,
                    "Say what serving it takes and gives here and on GPUs: memory, conversations");
  command->add_option("--gpu-gib", *gpu_gib, "Memory of the GPUs of --plan")
      ->check(CLI::Range(std::int64_t{1}, kMostGiB))
      ->capture_default_str();
  command->callback([=] {
    const Inspection inspection = Inspect(*options);
    std::fputs(inspection.text.c_str(), stdout);
    if (!inspection.problems.empty()) *exit_code = 1;
    if (!*plan || !inspection.problems.empty()) return;
    const absl::StatusOr<std::string> planned = Plan(*options, *gpu_gib, *backend);
    if (planned.ok()) {
      std::fputs(planned->c_str(), stdout);
    } else {
      std::fprintf(stderr, "llavad inspect: %s\n", MessageOf(planned.status()).c_str());
      *exit_code = 1;
    }
  });
}

}  // namespace llava
