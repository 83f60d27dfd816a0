#include "server/commands/generate_command.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>
#include <c10/core/InferenceMode.h>
#include <c10/util/Exception.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <boost/json.hpp>
#include <cstdio>
#include <functional>
#include <memory>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/field_error.h"
#include "base/file.h"
#include "base/status_macros.h"
#include "model/adapter/adapter.h"
#include "model/adapter/adapter_weights.h"
#include "model/config/decoder_products.h"
#include "model/config/hub_folder.h"
#include "model/image/image.h"
#include "model/image/preprocess.h"
#include "model/network/llava.h"
#include "model/network/lora.h"
#include "model/network/session.h"
#include "model/tensors/tensor_files.h"
#include "model/text/chat_template.h"
#include "model/text/detokenizer.h"
#include "model/text/prompt.h"
#include "model/text/tokenizer.h"

namespace llava {
namespace {

constexpr std::size_t kMaxImageBytes = std::size_t{32} << 20;
constexpr std::int64_t kMaxAdapterBytes = std::int64_t{16} << 30;

absl::StatusOr<at::ScalarType> ParseDtype(const std::string& name) {
  if (name == "float32") return at::kFloat;
  if (name == "bfloat16") return at::kBFloat16;
  return absl::InvalidArgumentError(
      absl::StrCat("--dtype is \"", name, "\", expected float32 or bfloat16"));
}

absl::StatusOr<model::Quantization> ParseWeights(const std::string& name) {
  if (name == "auto") return model::Quantization::kNone;
  const auto known = model::QuantizationOf(name);
  if (known && model::IsStored(*known)) return *known;
  return absl::InvalidArgumentError(
      absl::StrCat("--weights is \"", name, "\", expected auto, int8 or int4"));
}

struct Images {
  std::vector<model::ImageLayout> layouts;
  at::Tensor pixels;  // [tiles of all images, 3, height, width]; undefined without images
};

absl::StatusOr<Images> ReadImages(const GenerateOptions& options,
                                  const model::LlavaConfig& config) {
  Images images;
  if (options.images.empty()) return images;
  ASSIGN_OR_RETURN(const model::PreprocessSettings settings,
                   model::ReadPreprocessSettings(options.directory, config));
  const model::Preprocessor preprocessor(settings);
  std::vector<at::Tensor> pixels;
  for (const std::string& path : options.images) {
    ASSIGN_OR_RETURN(const std::string bytes, ReadFile(path, kMaxImageBytes));
    const absl::StatusOr<model::RgbImage> image = model::DecodeImage(bytes);
    if (!image.ok()) return Annotate(image.status(), path);
    const int count = static_cast<int>(options.images.size());
    images.layouts.push_back(model::LayoutOf(config, {image->width, image->height}, count));
    const model::PixelValues values = preprocessor.Process(*image, images.layouts.back());
    pixels.push_back(
        at::tensor(values.Floats()).view({values.tiles, 3, values.height, values.width}));
  }
  images.pixels = at::cat(pixels);
  return images;
}

absl::StatusOr<model::PromptTokens> MakePrompt(const GenerateOptions& options,
                                               const model::LlavaConfig& config,
                                               const model::Tokenizer& tokenizer,
                                               std::span<const model::ImageLayout> images) {
  if (options.raw) return model::BuildRawPrompt(options.prompt, tokenizer, config, images);
  ASSIGN_OR_RETURN(const model::ChatTemplate chat,
                   options.template_name.empty()
                       ? model::ChatTemplate::ForCheckpoint(options.directory, config)
                       : model::ChatTemplate::ByName(options.template_name));
  model::ChatMessage message;
  for (int i = 0; i < std::ssize(images); ++i) message.parts.push_back(model::ImagePart{i});
  message.parts.push_back(options.prompt);
  return model::BuildPrompt({&message, 1}, chat, tokenizer, config, images);
}

// What the model makes of the prompt.
struct Stages {
  at::Tensor pixels;               // as read
  at::Tensor features;             // of the vision tower
  at::Tensor projected;            // [tiles of all images, tile's tokens, hidden]
  std::vector<at::Tensor> images;  // [image's tokens, hidden]
  std::vector<at::Tensor> hidden;
  at::Tensor last;  // hidden states of the prompt after the final norm
};

Stages RunPrompt(const model::Llava& model, model::Session& session,
                 const model::PromptTokens& prompt, Images pictures) {
  const c10::InferenceMode inference;
  Stages stages;
  stages.pixels = std::move(pictures.pixels);
  if (stages.pixels.defined()) {
    stages.features = model.vision_tower().Forward(stages.pixels.to(model.device()));
    stages.projected = model.projector().Forward(stages.features);
  }
  std::int64_t first = 0;
  for (const model::ImageLayout& layout : pictures.layouts) {
    stages.images.push_back(
        model.PackImage(stages.projected.narrow(0, first, layout.tiles), layout));
    first += layout.tiles;
  }
  stages.last = session.Append(model::EmbedPrompt(model, prompt, stages.images), &stages.hidden);
  return stages;
}

absl::Status DumpStages(const std::string& path, const model::Llava& model, const Stages& stages) {
  const c10::InferenceMode inference;
  std::vector<model::NamedTensor> tensors = {
      {"hidden_states", at::stack(stages.hidden)},
      {"logits", model.Logits(stages.last)},
  };
  if (stages.pixels.defined()) {
    tensors.emplace_back("pixel_values", stages.pixels);
    tensors.emplace_back("projected", stages.projected);
    tensors.emplace_back("image_features", at::cat(stages.images));
    tensors.emplace_back("vision_features", stages.features);
  }
  return model::SaveTensorsAs(path, tensors, at::kFloat);
}

// Greedy ids from the prompt's last logits on; each goes to `emit` as it comes.
std::vector<int> Answer(const model::Llava& model, model::Session& session, at::Tensor logits,
                        const GenerateOptions& options, const std::function<void(int)>& emit) {
  const model::TextConfig& text = model.config().text;
  const std::int64_t room = text.max_positions - session.length();
  std::vector<int> ids;
  while (static_cast<std::int64_t>(ids.size()) < std::min<std::int64_t>(options.max_tokens, room)) {
    if (!ids.empty()) logits = session.Step(ids.back());
    const int id = static_cast<int>(logits.argmax().item<std::int64_t>());
    ids.push_back(id);
    emit(id);
    const bool is_end = std::find(text.eos_token_ids.begin(), text.eos_token_ids.end(), id) !=
                        text.eos_token_ids.end();
    if (is_end && !options.ignore_eos) break;
  }
  return ids;
}

template <typename T>
std::string Json(const T& value) {
  return boost::json::serialize(boost::json::value_from(value));
}

absl::StatusOr<std::optional<model::AdapterWeights>> ReadFittingAdapter(
    const GenerateOptions& options) {
  if (options.adapter.empty()) return std::nullopt;
  ASSIGN_OR_RETURN(model::AdapterWeights weights,
                   model::ReadAdapter(options.adapter, kMaxAdapterBytes));
  ASSIGN_OR_RETURN(const model::LlavaConfig config,
                   model::ReadConfig(options.directory, options.vision_tower_dir));
  RETURN_IF_ERROR(Annotate(model::CheckFits(weights.adapted(), config.text), options.adapter));
  return weights;
}

// Beside the weights as they are, whatever they are. With magnitudes it is part of them already.
std::optional<model::Adapter> MakeAdapter(const std::optional<model::AdapterWeights>& weights,
                                          const model::Llava& model) {
  if (!weights || weights->dora) return std::nullopt;
  return model::Adapter(*weights, model.config().text, model.device());
}

absl::Status Run(const GenerateOptions& options, const TextSink& out) {
  ASSIGN_OR_RETURN(const at::ScalarType dtype, ParseDtype(options.dtype));
  ASSIGN_OR_RETURN(const model::Quantization quantization, ParseWeights(options.weights));
  ASSIGN_OR_RETURN(const std::optional<model::AdapterWeights> weights, ReadFittingAdapter(options));
  model::LoadOptions load{.dtype = dtype,
                          .vision_tower_dir = options.vision_tower_dir,
                          .pack = true,
                          .quantization = quantization,
                          .verify = options.verify};
  if (weights && weights->dora) load.merged = model::LorasOf(*weights);
  ASSIGN_OR_RETURN(const std::unique_ptr<model::Llava> model,
                   model::Llava::Load(options.directory, load));
  const model::LlavaConfig& config = model->config();
  ASSIGN_OR_RETURN(const model::Tokenizer tokenizer,
                   model::Tokenizer::Load(options.directory, config.layout));
  RETURN_IF_ERROR(tokenizer.CheckFits(config.text.vocab_size));
  ASSIGN_OR_RETURN(Images images, ReadImages(options, config));
  ASSIGN_OR_RETURN(const model::PromptTokens prompt,
                   MakePrompt(options, config, tokenizer, images.layouts));

  const std::optional<model::Adapter> adapter = MakeAdapter(weights, *model);
  const c10::InferenceMode inference;
  model::Session session(*model, adapter ? &*adapter : nullptr);
  const Stages stages = RunPrompt(*model, session, prompt, std::move(images));
  if (!options.dump_stages.empty()) {
    RETURN_IF_ERROR(DumpStages(options.dump_stages, *model, stages));
  }
  model::Detokenizer detokenizer(tokenizer);
  std::string text;
  const auto emit = [&](const std::string& piece) {
    text += piece;
    if (!options.json) out(piece);
  };
  const std::vector<int> answer =
      Answer(*model, session, model->Logits(stages.last.slice(0, -1)).squeeze(0), options,
             [&](int id) { emit(detokenizer.Push(id)); });
  emit(detokenizer.Finish());
  if (options.json) {
    out(absl::StrCat("{\"prompt_ids\": ", Json(prompt.ids), ", \"answer_ids\": ", Json(answer),
                     ", \"text\": ", Json(text), "}"));
  }
  out("\n");
  return absl::OkStatus();
}

}  // namespace

absl::Status Generate(const GenerateOptions& options, const TextSink& out) {
  try {
    return Run(options, out);
  } catch (const c10::Error& error) {
    return absl::InternalError(
        absl::StrCat("computing the answer failed: ", error.what_without_backtrace()));
  }
}

void AddGenerateCommand(CLI::App& app, int* exit_code) {
  auto options = std::make_shared<GenerateOptions>();
  CLI::App* command = app.add_subcommand("generate", "Answer one prompt without a server");
  command->add_option("DIR", options->directory, "Checkpoint directory")
      ->required()
      ->transform(CLI::Validator(model::TakeSnapshot, ""));
  command->add_option("--image", options->images, "Picture files, in the order of the prompt");
  command->add_option("--prompt", options->prompt, "The question")->required();
  command->add_flag("--raw", options->raw, "The prompt is complete; <image> marks the pictures");
  command->add_option("--template", options->template_name, "Conversation template")
      ->check(CLI::IsMember(model::ChatTemplate::Names()));
  command->add_option("--vision-tower", options->vision_tower_dir,
                      "CLIP directory of a checkpoint in the original layout");
  command->add_option("--adapter", options->adapter,
                      "LoRA adapter in PEFT's layout to answer with");
  command->add_option("--dtype", options->dtype, "Precision of the computation")
      ->check(CLI::IsMember({"float32", "bfloat16"}))
      ->capture_default_str();
  command->add_option("--weights", options->weights, "Bits of the weights")
      ->check(CLI::IsMember({"auto", "int8", "int4"}))
      ->capture_default_str();
  command->add_option("--max-tokens", options->max_tokens, "Longest answer")
      ->check(CLI::Range(1, 1'000'000))
      ->capture_default_str();
  command->add_flag("--ignore-eos", options->ignore_eos, "Go on after the end of the text");
  command->add_flag("--verify", options->verify, "Refuse NaN and infinite weights");
  command->add_flag("--json", options->json, "Print ids and text as one JSON object");
  command->add_option("--dump-stages", options->dump_stages,
                      "Write what the model computes of the prompt to this safetensors file");
  command->callback([options, exit_code] {
    const absl::Status status = Generate(*options, [](std::string_view text) {
      std::fwrite(text.data(), 1, text.size(), stdout);
      std::fflush(stdout);
    });
    if (status.ok()) return;
    std::fprintf(stderr, "llavad generate: %s\n", MessageOf(status).c_str());
    *exit_code = 1;
  });
}

}  // namespace llava
