// One sequence answered without a server: the prompt at once, then token by token, with the keys
// and values of what came before in contiguous tensors. For the command line and as the plain
// reference of the engine's paged batches.
#ifndef LLAVA_MODEL_NETWORK_SESSION_H_
#define LLAVA_MODEL_NETWORK_SESSION_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "model/adapter/adapter.h"
#include "model/attention/attention.h"
#include "model/attention/kv_cache.h"
#include "model/attention/paged_attention.h"
#include "model/network/llava.h"
#include "model/text/prompt.h"

namespace llava::model {

// Keys and values of one sequence; every Forward appends its tokens. Not thread-safe.
class SequenceAttention final : public AttentionBackend {
 public:
  // `windows`: TextConfig::windows.
  explicit SequenceAttention(int layers, std::vector<int> windows = {})
      : keys_(layers), values_(layers), windows_(std::move(windows)) {}

  at::Tensor Forward(int layer, const at::Tensor& q_THD, const at::Tensor& k_TKD,
                     const at::Tensor& v_TKD) override;

 private:
  std::vector<at::Tensor> keys_;  // by layer, [L, K, D]
  std::vector<at::Tensor> values_;
  std::vector<int> windows_;
};

// Not thread-safe; model and adapter outlive it. Calls run under c10::InferenceMode and throw
// c10::Error as Llava does.
class Session {
 public:
  // `adapter`: what is added to the model's products, which must be packed then; may be null.
  explicit Session(const Llava& model, const Adapter* adapter = nullptr)
      : model_(model),
        adapter_(adapter),
        attention_(std::make_unique<SequenceAttention>(model.config().text.num_layers,
                                                       model.config().text.windows)) {}

  // The same with keys and values in 8 bits, as an engine holds them whose KV cache is of such a
  // KvShape::dtype: kChar, or kFloat8_e4m3fn as on GPUs. The errors of KvCache::Create:
  // RESOURCE_EXHAUSTED, or INVALID_ARGUMENT for a model whose heads have no such cache.
  static absl::StatusOr<Session> WithKvCodes(const Llava& model, at::ScalarType dtype = at::kChar);

  // ids of tokens, [T, E] rows for them (see Llava::Embed and PlaceImages) -> hidden states after
  // the final norm, [T, E]. `trace` as in Decoder::Forward.
  at::Tensor Append(const at::Tensor& embeddings_TE, std::vector<at::Tensor>* trace = nullptr);

  // One more token; the logits of what follows it, [V].
  at::Tensor Step(std::int64_t id);

  std::int64_t length() const { return length_; }

 private:
  const Llava& model_;
  const Adapter* const adapter_;
  std::unique_ptr<KvCache> cache_;  // null: of no use to attention_
  std::vector<std::int32_t> blocks_;
  PagedAttention* paged_ = nullptr;  // attention_ with a cache
  std::unique_ptr<AttentionBackend> attention_;
  std::int64_t length_ = 0;
};

// The rows of a prompt: token embeddings, with the features of its images, [tokens, E] each, in
// their places.
at::Tensor EmbedPrompt(const Llava& model, const PromptTokens& prompt,
                       std::span<const at::Tensor> features);

// The same of images of one tile: [images, tokens, E], undefined when the prompt has no images.
at::Tensor EmbedPrompt(const Llava& model, const PromptTokens& prompt, const at::Tensor& features);

}  // namespace llava::model

#endif  // LLAVA_MODEL_NETWORK_SESSION_H_
