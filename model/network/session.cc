#include "model/network/session.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <ATen/ops/tensor.h>
#include <c10/core/InferenceMode.h>

#include <numeric>
#include <optional>
#include <utility>

#include "base/status_macros.h"

namespace llava::model {
namespace {

at::Tensor Appended(const at::Tensor& past, const at::Tensor& more) {
  return past.defined() ? at::cat({past, more}) : more;
}

// [T, heads, D] -> [1, heads, T, D]
at::Tensor Batched(const at::Tensor& x) { return x.transpose(0, 1).unsqueeze(0); }

}  // namespace

at::Tensor SequenceAttention::Forward(int layer, const at::Tensor& q_THD, const at::Tensor& k_TKD,
                                      const at::Tensor& v_TKD) {
  at::Tensor& keys = keys_.at(static_cast<std::size_t>(layer));
  at::Tensor& values = values_.at(static_cast<std::size_t>(layer));
  keys = Appended(keys, k_TKD);
  values = Appended(values, v_TKD);
  const std::int64_t tokens = q_THD.size(0);
  const std::int64_t past = keys.size(0) - tokens;
  const int window = windows_.empty() ? 0 : windows_.at(static_cast<std::size_t>(layer));
  const bool slides = window > 0 && window < keys.size(0);
  std::optional<at::Tensor> mask;
  if (slides || (past > 0 && tokens > 1)) {
    mask = at::ones({tokens, keys.size(0)}, q_THD.options().dtype(at::kBool)).tril(past);
  }
  if (slides) mask = mask->triu(past - window + 1);
  const at::Tensor mixed = at::scaled_dot_product_attention(
      Batched(q_THD), Batched(keys), Batched(values), mask, /*dropout_p=*/0.0,
      /*is_causal=*/past == 0 && !mask, /*scale=*/std::nullopt, /*enable_gqa=*/true);
  return mixed.squeeze(0).transpose(0, 1).contiguous();
}

absl::StatusOr<Session> Session::WithKvCodes(const Llava& model, at::ScalarType dtype) {
  const TextConfig& text = model.config().text;
  const KvShape shape{.layers = static_cast<int>(text.num_layers),
                      .kv_heads = static_cast<int>(text.num_kv_heads),
                      .head_dim = static_cast<int>(text.head_dim),
                      .dtype = dtype,
                      .layout = dtype == at::kChar ? KvLayout::kTiles : KvLayout::kRows,
                      .windows = text.windows};
  const std::int64_t blocks = (text.max_positions + kKvBlockTokens - 1) / kKvBlockTokens;
  ASSIGN_OR_RETURN(KvCache cache, KvCache::Create(shape, blocks * KvCache::BlockBytes(shape)));
  Session session(model);
  session.cache_ = std::make_unique<KvCache>(std::move(cache));
  session.blocks_.resize(static_cast<std::size_t>(blocks));
  std::iota(session.blocks_.begin(), session.blocks_.end(), 0);
  std::unique_ptr<PagedAttention> paged = MakePagedAttention(*session.cache_);
  session.paged_ = paged.get();
  session.attention_ = std::move(paged);
  return session;
}

at::Tensor Session::Append(const at::Tensor& embeddings_TE, std::vector<at::Tensor>* trace) {
  const c10::InferenceMode inference;
  const std::int64_t first = length_;
  length_ += embeddings_TE.size(0);
  if (paged_ != nullptr) {
    const PagedSequence all{
        .first_row = 0, .tokens = length_ - first, .context = first, .blocks = blocks_};
    paged_->Refill({&all, 1});
  }
  const at::Tensor positions = at::arange(first, length_, embeddings_TE.options().dtype(at::kLong));
  const AdapterRows all_rows{.adapter = adapter_};
  return model_.decoder().Forward(
      embeddings_TE, positions, *attention_, /*rows_R=*/{}, trace,
      {&all_rows, adapter_ == nullptr ? std::size_t{0} : std::size_t{1}});
}

at::Tensor Session::Step(std::int64_t id) {
  const c10::InferenceMode inference;
  const at::Tensor ids = at::tensor({id}, at::TensorOptions().dtype(at::kLong));
  return model_.Logits(Append(model_.Embed(ids.to(model_.device())))).squeeze(0);
}

at::Tensor EmbedPrompt(const Llava& model, const PromptTokens& prompt, const at::Tensor& features) {
  return EmbedPrompt(model, prompt,
                     features.defined() ? features.unbind() : std::vector<at::Tensor>());
}

at::Tensor EmbedPrompt(const Llava& model, const PromptTokens& prompt,
                       std::span<const at::Tensor> features) {
  const c10::InferenceMode inference;
  const at::Tensor embeddings =
      model.Embed(at::tensor(prompt.ids, at::TensorOptions().dtype(at::kLong)).to(model.device()));
  if (prompt.image_spans.empty()) return embeddings;
  std::vector<at::Tensor> rows;
  std::vector<at::Tensor> images;
  for (const ImageSpan& span : prompt.image_spans) {
    rows.push_back(
        at::arange(span.offset, span.offset + span.count, embeddings.options().dtype(at::kLong)));
    images.push_back(features[static_cast<std::size_t>(span.image)]);
  }
  return Llava::PlaceImages(embeddings, at::cat(rows), at::cat(images));
}

}  // namespace llava::model
