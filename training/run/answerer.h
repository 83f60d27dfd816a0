// Asks a model questions about images, greedily and one at a time: evaluation and probes.
#ifndef LLAVA_TRAINING_RUN_ANSWERER_H_
#define LLAVA_TRAINING_RUN_ANSWERER_H_

#include <ATen/core/Tensor.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "model/checkpoint/manifest.h"
#include "model/image/preprocess.h"
#include "model/network/llava.h"
#include "model/network/session.h"
#include "model/text/chat_template.h"
#include "model/text/prompt.h"
#include "model/text/tokenizer.h"
#include "training/evaluate/score.h"

namespace llava::training {

inline constexpr int kAnswerTokens = 96;  // longer than any true answer

struct Answer {
  std::vector<int> ids;  // the end-of-text id included
  std::string text;
};

// Not thread-safe: it keeps the features of the last images. The model outlives it.
class Answerer {
 public:
  // Tokenizer and preprocessor come from `checkpoint` (whose weights are not read); `chat_template`
  // is a name of ChatTemplate::Names(), or "" for the checkpoint's own.
  static absl::StatusOr<Answerer> Make(const model::Llava& model, const std::string& checkpoint,
                                       const std::string& chat_template);

  // `images`: paths of files. Errors: an image that cannot be read, a prompt that is too long;
  // RESOURCE_EXHAUSTED: memory.
  absl::StatusOr<Answer> Ask(const std::vector<std::string>& images, const std::string& question,
                             int max_tokens);

  // Asked between tokens; true ends answers where they are.
  void set_stop(std::function<bool()> stop) { stop_ = std::move(stop); }

  // From now on keys and values are held in this dtype of 8 bits (Session::WithKvCodes).
  void HoldKvIn(at::ScalarType dtype) { kv_dtype_ = dtype; }

  // What the model would have said in the place of each of `ids`, an answer to the question (at
  // least one id): logarithms of probabilities, fp32 [ids, vocabulary]. The errors of Ask.
  absl::StatusOr<at::Tensor> LogProbs(const std::vector<std::string>& images,
                                      const std::string& question, const std::vector<int>& ids);

  // The rows [tokens, hidden] of the question's prompt and of an answer's text after it, as much of
  // that as the context has room for. The errors of Ask.
  absl::StatusOr<at::Tensor> Rows(const std::vector<std::string>& images,
                                  const std::string& question, const std::string& answer);

  const std::string& template_name() const { return template_.name(); }

 private:
  Answerer(const model::Llava& model, model::Tokenizer tokenizer, model::ChatTemplate chat_template,
           const model::PreprocessSettings& settings);

  absl::Status Encode(const std::vector<std::string>& images);
  // After encoding its images.
  absl::StatusOr<model::PromptTokens> PromptOf(const std::vector<std::string>& images,
                                               const std::string& question);
  absl::StatusOr<model::Session> Begin() const;
  absl::StatusOr<Answer> Generate(const model::PromptTokens& prompt, int max_tokens) const;

  const model::Llava* model_;
  model::Tokenizer tokenizer_;
  model::ChatTemplate template_;
  model::Preprocessor preprocessor_;
  std::vector<std::string> encoded_;  // the images of features_
  std::vector<model::ImageLayout> layouts_;
  std::vector<at::Tensor> features_;  // of each image, [tokens, hidden]
  std::optional<at::ScalarType> kv_dtype_;
  std::function<bool()> stop_ = [] { return false; };
};

// Asks every item; images are below `images_dir`. `on_wrong` gets each wrong answer.
absl::StatusOr<Scores> Evaluate(
    Answerer& answerer, const std::vector<EvaluationItem>& items, const std::string& images_dir,
    const std::function<void(const EvaluationItem&, const Answer&)>& on_wrong = nullptr);

// Copies up to `count` images of `items` (different kinds first, right answers only) into
// `checkpoint`/probes and records what the model answers there. `first`: the number of the first
// one's files.
absl::StatusOr<std::vector<model::Probe>> MakeProbes(Answerer& answerer,
                                                     const std::vector<EvaluationItem>& items,
                                                     const std::string& images_dir,
                                                     const std::string& checkpoint, int count,
                                                     int first = 0);

}  // namespace llava::training

#endif  // LLAVA_TRAINING_RUN_ANSWERER_H_
