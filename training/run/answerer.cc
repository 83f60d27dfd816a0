#include "training/run/answerer.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/tensor.h>
#include <c10/core/InferenceMode.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <filesystem>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "model/image/image.h"
#include "model/text/prompt.h"
#include "training/data/tar/picture_file.h"

namespace llava::training {
namespace {

constexpr int kProbeTokens = 16;

std::vector<std::string> Paths(const EvaluationItem& item, const std::string& dir) {
  std::vector<std::string> paths;
  for (const std::string& image : item.images) paths.push_back(absl::StrCat(dir, "/", image));
  return paths;
}

// Where the first of the texts begins that end an answer; npos: nowhere.
std::size_t FirstStop(const std::string& text, const std::vector<std::string>& stops) {
  std::size_t first = std::string::npos;
  for (const std::string& stop : stops) first = std::min(first, text.find(stop));
  return first;
}

// One item of each kind, then a second one of each, ...: their order for probes.
std::vector<const EvaluationItem*> ByTurns(const std::vector<EvaluationItem>& items) {
  std::vector<const EvaluationItem*> rest, order;
  for (const EvaluationItem& item : items) rest.push_back(&item);
  while (!rest.empty()) {
    std::set<std::string> kinds;
    std::vector<const EvaluationItem*> later;
    for (const EvaluationItem* item : rest) {
      (kinds.insert(item->kind).second ? order : later).push_back(item);
    }
    rest = std::move(later);
  }
  return order;
}

}  // namespace

Answerer::Answerer(const model::Llava& model, model::Tokenizer tokenizer,
                   model::ChatTemplate chat_template, const model::PreprocessSettings& settings)
    : model_(&model),
      tokenizer_(std::move(tokenizer)),
      template_(std::move(chat_template)),
      preprocessor_(settings) {}

absl::StatusOr<Answerer> Answerer::Make(const model::Llava& model, const std::string& checkpoint,
                                        const std::string& chat_template) {
  ASSIGN_OR_RETURN(model::Tokenizer tokenizer,
                   model::Tokenizer::Load(checkpoint, model.config().layout));
  ASSIGN_OR_RETURN(model::ChatTemplate chat,
                   chat_template.empty()
                       ? model::ChatTemplate::ForCheckpoint(checkpoint, model.config())
                       : model::ChatTemplate::ByName(chat_template));
  ASSIGN_OR_RETURN(const model::PreprocessSettings settings,
                   model::ReadPreprocessSettings(checkpoint, model.config()));
  return Answerer(model, std::move(tokenizer), std::move(chat), settings);
}

absl::Status Answerer::Encode(const std::vector<std::string>& images) {
  if (images == encoded_) return absl::OkStatus();
  std::vector<at::Tensor> features;
  std::vector<model::ImageLayout> layouts;
  for (const std::string& path : images) {
    ASSIGN_OR_RETURN(const std::string bytes,
                     ReadPictureFile(path, model::ImageLimits().max_bytes));
    const auto image = model::DecodeImage(bytes);
    if (!image.ok()) return Annotate(image.status(), path);
    layouts.push_back(model::LayoutOf(model_->config(), {image->width, image->height},
                                      static_cast<int>(images.size())));
    const model::PixelValues values = preprocessor_.Process(*image, layouts.back());
    const at::Tensor pixels = at::tensor(values.Floats())
                                  .view({values.tiles, 3, values.height, values.width})
                                  .to(model_->device(), model_->dtype());
    features.push_back(model_->PackImage(model_->EncodeImages(pixels), layouts.back()));
  }
  features_ = std::move(features);
  layouts_ = std::move(layouts);
  encoded_ = images;
  return absl::OkStatus();
}

absl::StatusOr<model::Session> Answerer::Begin() const {
  if (kv_dtype_) return model::Session::WithKvCodes(*model_, *kv_dtype_);
  return model::Session(*model_);
}

absl::StatusOr<Answer> Answerer::Generate(const model::PromptTokens& prompt, int max_tokens) const {
  const model::TextConfig& text = model_->config().text;
  ASSIGN_OR_RETURN(model::Session session, Begin());
  const at::Tensor hidden = session.Append(model::EmbedPrompt(*model_, prompt, features_));
  at::Tensor logits = model_->Logits(hidden.slice(0, hidden.size(0) - 1)).squeeze(0);
  Answer answer;
  const std::vector<std::string> stops = template_.stops();
  const std::int64_t room =
      std::min<std::int64_t>(max_tokens, text.max_positions - session.length());
  while (static_cast<std::int64_t>(answer.ids.size()) < room && !stop_()) {
    if (!answer.ids.empty()) logits = session.Step(answer.ids.back());
    answer.ids.push_back(static_cast<int>(logits.argmax().item<std::int64_t>()));
    if (std::count(text.eos_token_ids.begin(), text.eos_token_ids.end(), answer.ids.back())) break;
    if (!stops.empty() && FirstStop(tokenizer_.Decode(answer.ids), stops) != std::string::npos) {
      break;
    }
  }
  answer.text = tokenizer_.Decode(answer.ids);
  answer.text.resize(std::min(answer.text.size(), FirstStop(answer.text, stops)));
  return answer;
}

absl::StatusOr<model::PromptTokens> Answerer::PromptOf(const std::vector<std::string>& images,
                                                       const std::string& question) {
  model::ChatMessage message;
  for (int i = 0; i < std::ssize(images); ++i) message.parts.emplace_back(model::ImagePart{i});
  message.parts.emplace_back(question);
  RETURN_IF_ERROR(Encode(images));
  return model::BuildPrompt({&message, 1}, template_, tokenizer_, model_->config(), layouts_);
}

absl::StatusOr<at::Tensor> Answerer::LogProbs(const std::vector<std::string>& images,
                                              const std::string& question,
                                              const std::vector<int>& ids) {
  try {
    const c10::InferenceMode inference;
    ASSIGN_OR_RETURN(const model::PromptTokens prompt, PromptOf(images, question));
    const std::vector<std::int64_t> given(ids.begin(), ids.end() - 1);
    const at::Tensor rows =
        at::cat({model::EmbedPrompt(*model_, prompt, features_),
                 model_->Embed(at::tensor(given, at::TensorOptions().dtype(at::kLong)))});
    ASSIGN_OR_RETURN(model::Session session, Begin());
    const at::Tensor hidden = session.Append(rows);
    const auto count = static_cast<std::int64_t>(ids.size());
    return at::log_softmax(model_->Logits(hidden.narrow(0, hidden.size(0) - count, count)), 1,
                           at::kFloat);
  } catch (const c10::Error& error) {
    return absl::ResourceExhaustedError(error.what_without_backtrace());
  }
}

absl::StatusOr<at::Tensor> Answerer::Rows(const std::vector<std::string>& images,
                                          const std::string& question, const std::string& answer) {
  try {
    const c10::InferenceMode inference;
    ASSIGN_OR_RETURN(const model::PromptTokens prompt, PromptOf(images, question));
    const std::vector<int> ids = tokenizer_.Encode(answer, /*control=*/false);
    const auto room =
        static_cast<std::size_t>(model_->config().text.max_positions) - prompt.ids.size();
    const std::vector<std::int64_t> said(
        ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(std::min(room, ids.size())));
    const at::Tensor rows = model::EmbedPrompt(*model_, prompt, features_);
    if (said.empty()) return rows;
    const at::TensorOptions options = at::TensorOptions().dtype(at::kLong);
    return at::cat({rows, model_->Embed(at::tensor(said, options))});
  } catch (const c10::Error& error) {
    return absl::ResourceExhaustedError(error.what_without_backtrace());
  }
}

absl::StatusOr<Answer> Answerer::Ask(const std::vector<std::string>& images,
                                     const std::string& question, int max_tokens) {
  try {
    const c10::InferenceMode inference;
    ASSIGN_OR_RETURN(const model::PromptTokens prompt, PromptOf(images, question));
    return Generate(prompt, max_tokens);
  } catch (const c10::Error& error) {
    return absl::ResourceExhaustedError(error.what_without_backtrace());
  }
}

absl::StatusOr<Scores> Evaluate(
    Answerer& answerer, const std::vector<EvaluationItem>& items, const std::string& images_dir,
    const std::function<void(const EvaluationItem&, const Answer&)>& on_wrong) {
  Scores scores;
  for (const EvaluationItem& item : items) {
    ASSIGN_OR_RETURN(const Answer answer,
                     answerer.Ask(Paths(item, images_dir), item.question, kAnswerTokens));
    KindScore& score = scores[item.kind];
    ++score.asked;
    if (IsRight(item.answer, answer.text)) {
      ++score.right;
    } else if (on_wrong) {
      on_wrong(item, answer);
    }
  }
  return scores;
}

absl::StatusOr<std::vector<model::Probe>> MakeProbes(Answerer& answerer,
                                                     const std::vector<EvaluationItem>& items,
                                                     const std::string& images_dir,
                                                     const std::string& checkpoint, int count,
                                                     int first) {
  std::vector<model::Probe> probes;
  for (const EvaluationItem* item : ByTurns(items)) {
    if (static_cast<int>(probes.size()) >= count) break;
    ASSIGN_OR_RETURN(Answer answer,
                     answerer.Ask(Paths(*item, images_dir), item->question, kProbeTokens));
    if (!IsRight(item->answer, answer.text)) continue;
    model::Probe probe{item->question, {}, answerer.template_name(), std::move(answer.ids)};
    for (const std::string& image : item->images) {
      const std::filesystem::path source(absl::StrCat(images_dir, "/", image));
      probe.images.push_back(absl::StrCat("probes/", first + std::ssize(probes), "-",
                                          probe.images.size(), source.extension().string()));
      std::error_code error;
      std::filesystem::create_directories(checkpoint + "/probes", error);
      std::filesystem::copy_file(source, absl::StrCat(checkpoint, "/", probe.images.back()), error);
      if (error) return absl::ErrnoToStatus(error.value(), probe.images.back());
    }
    probes.push_back(std::move(probe));
  }
  return probes;
}

}  // namespace llava::training
