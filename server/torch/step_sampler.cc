#include "server/torch/step_sampler.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/minimum.h>
#include <ATen/ops/sort.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros_like.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <numbers>
#include <tuple>

#include "base/sampling_params.h"

namespace llava::engine {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr float kLeastWeight = std::numeric_limits<float>::min();   // 2^-126
constexpr double kLeastShare = std::numeric_limits<double>::min();  // one token
constexpr double kLargestFloat = std::numeric_limits<float>::max();

// A GPU writes to pinned memory itself, when it has come there.
at::Tensor ToHost(const at::Tensor& x) {
  const at::Tensor there = x.contiguous();
  if (!there.is_cuda()) return there;
  const auto pinned = at::TensorOptions().dtype(there.scalar_type()).pinned_memory(true);
  return at::empty(there.sizes(), pinned).copy_(there, /*non_blocking=*/true);
}

// One number a row.
at::Tensor OfRows(const at::Tensor& numbers) { return numbers.unsqueeze(1); }

bool IsWanted(const StepSampler::Row& row, const absl::StatusOr<SampledToken>* before) {
  return row.draft == kNotSampled || (before->ok() && (*before)->token == row.draft);
}

// Null: no processor is one.
model::LogitsProcessor* MaskOf(const model::SampleContext& context) {
  for (const auto& processor : context.processors) {
    if (processor->IsMask()) return processor.get();
  }
  return nullptr;
}

}  // namespace

void StepSampler::Launch(const at::Tensor& logits_RV, std::span<const Row> rows) {
  asked_.assign(rows.begin(), rows.end());
  words_ = logits_RV.size(1);
  ForEachColumn([](auto& column) { column.values.clear(); });
  here_.clear();
  there_.clear();
  most_tops_ = 0;
  for (std::size_t first = 0, end = 0; first < rows.size(); first = end) {
    for (end = first + 1; end < rows.size() && rows[end].draft != kNotSampled;) ++end;
    const bool is_there = IsForDevice(rows.subspan(first, end - first));
    for (std::size_t i = first; i < end; ++i) {
      if (is_there) {
        AddForDevice(rows[i], i, words_);
      } else {
        here_.push_back(i);
        std::vector<std::int64_t>& wanted = rows_here_.values;
        if (wanted.empty() || wanted.back() != rows[i].row) wanted.push_back(rows[i].row);
      }
    }
  }
  if (on_device_) SendNumbers();
  if (!there_.empty()) results_ = ToHost(SampleThere(logits_RV));
  if (!here_.empty()) {
    const at::Tensor wanted = on_device_ ? logits_RV.index_select(0, Get(rows_here_)) : logits_RV;
    logits_here_ = ToHost(wanted.to(at::kFloat));
  }
  const at::Device device = logits_RV.device();
  if (!device.is_cuda()) return;
  if (!sent_.has_value()) sent_.emplace(device.type());
  sent_->record(c10::impl::VirtualGuardImpl(device.type()).getStream(device));
}

StepSampler::Tokens StepSampler::Collect() {
  Tokens tokens(asked_.size(), SampledToken{});
  if (sent_.has_value()) sent_->synchronize();
  if (!there_.empty()) Read(tokens);
  if (!here_.empty()) SampleHere(tokens);
  asked_.clear();
  results_ = logits_here_ = at::Tensor();
  return tokens;
}

template <typename F>
void StepSampler::ForEachColumn(F f) {
  for (auto* column : {&rows_, &rows_here_, &masked_, &drawn_, &cut_, &top_k_, &explained_}) {
    f(*column);
  }
  for (auto* column : {&least_, &uniforms_, &top_p_}) f(*column);
  f(scales_);
  for (Changes& changes : changes_) {
    f(changes.places);
    for (auto* column : {&changes.penalties, &changes.minus, &changes.plus}) f(*column);
  }
}

void StepSampler::SendNumbers() {
  numbers_.Begin();
  ForEachColumn([this](auto& column) {
    column.part = numbers_.AddCopyOf(std::span(std::as_const(column.values)));
  });
  if (!masked_.values.empty()) ComputeMasks();
  numbers_.Send();
}

void StepSampler::ComputeMasks() {
  constexpr std::size_t kBits = 32;
  const std::size_t length = (static_cast<std::size_t>(words_) + kBits - 1) / kBits;
  const std::size_t count = masked_.values.size();
  const auto [part, numbers] =
      numbers_.Add<std::int32_t>(static_cast<std::int64_t>(count * length));
  masks_ = part;
  const std::span bits(reinterpret_cast<std::uint32_t*>(numbers.data()), numbers.size());
  std::vector<model::MaskedRow> rows;
  for (const std::int64_t sample : masked_.values) {
    const model::SampleContext& context = asked_[there_[static_cast<std::size_t>(sample)]].context;
    rows.push_back({MaskOf(context), context.tokens, bits.subspan(rows.size() * length, length)});
  }
  model::ComputeMasks(rows);
}

// `run`: a row and those behind its drafts. What its processors change is then in listed_.
bool StepSampler::IsForDevice(std::span<const Row> run) {
  if (!on_device_) return false;
  const model::SampleContext& context = run.front().context;
  listed_.resize(context.processors.size());
  // Of a draft that proves wrong they would have counted what was never said.
  if (run.size() > 1) return context.processors.empty();
  bool has_mask = false;
  for (std::size_t i = 0; i < listed_.size(); ++i) {
    listed_[i].clear();
    if (context.processors[i]->IsMask()) {
      if (std::exchange(has_mask, true)) return false;
      continue;
    }
    if (!context.processors[i]->List(context.tokens, listed_[i])) return false;
  }
  return true;
}

void StepSampler::AddForDevice(const Row& row, std::size_t index, std::int64_t words) {
  const auto sample = std::ssize(there_);
  there_.push_back(index);
  rows_.values.push_back(row.row);
  if (changes_.size() < listed_.size()) changes_.resize(listed_.size());
  for (std::size_t i = 0; i < listed_.size(); ++i) {
    for (const model::LogitChange& change : listed_[i]) {
      if (change.token < 0 || change.token >= words) continue;
      changes_[i].places.values.push_back(sample * words + change.token);
      changes_[i].penalties.values.push_back(change.penalty);
      changes_[i].minus.values.push_back(change.minus);
      changes_[i].plus.values.push_back(change.plus);
    }
  }
  if (MaskOf(row.context) != nullptr) masked_.values.push_back(sample);
  const SamplingParams& params = *row.context.params;
  if (params.top_logprobs >= 0) {
    explained_.values.push_back(sample);
    most_tops_ = std::max<std::int64_t>(most_tops_, params.top_logprobs);
  }
  if (params.temperature == 0.0) return;
  const bool has_top_k = params.top_k > 0 && params.top_k < words, has_top_p = params.top_p < 1.0;
  if (has_top_k || has_top_p) {
    cut_.values.push_back(std::ssize(drawn_.values));
    top_k_.values.push_back(has_top_k ? params.top_k : words);
    top_p_.values.push_back(has_top_p ? params.top_p : kInfinity);
  }
  drawn_.values.push_back(sample);
  // 0 times a scale that is infinite would be no number.
  const double scale = std::min(std::numbers::log2e / params.temperature, kLargestFloat);
  scales_.values.push_back(static_cast<float>(scale));
  least_.values.push_back(params.min_p);
  uniforms_.values.push_back(
      model::UniformOfDraw(row.context.seed, row.context.tokens.output_ids.size()));
}

std::int64_t StepSampler::tops() const { return std::min(most_tops_, words_); }

// What Read takes apart.
at::Tensor StepSampler::SampleThere(const at::Tensor& logits_RV) const {
  const at::Tensor logits_SV = logits_RV.index_select(0, Get(rows_)).to(at::kFloat);
  const at::Tensor x_SV = Masked(Changed(logits_SV));
  at::Tensor tokens_S = x_SV.argmax(1);  // of equals the first
  const at::Tensor left_S = x_SV.gather(1, OfRows(tokens_S)).squeeze(1) != -kInfinity;
  if (!drawn_.values.empty()) {
    const at::Tensor drawn_D = Get(drawn_);
    tokens_S.index_copy_(0, drawn_D, Drawn(x_SV.index_select(0, drawn_D)));
  }
  std::vector<at::Tensor> pieces = {tokens_S.to(at::kDouble),
                                    logits_SV.amax({1}).isfinite().to(at::kDouble),
                                    left_S.to(at::kDouble)};
  if (!explained_.values.empty()) Explain(logits_SV, tokens_S, pieces);
  return at::cat(pieces);
}

// Step 2 of the contract, one processor after the other.
at::Tensor StepSampler::Changed(const at::Tensor& logits_SV) const {
  at::Tensor x_SV = logits_SV;
  for (const Changes& changes : changes_) {
    if (changes.places.values.empty()) continue;
    if (x_SV.is_same(logits_SV)) x_SV = logits_SV.clone();
    at::Tensor flat = x_SV.view(-1);
    const at::Tensor places = Get(changes.places), penalties = Get(changes.penalties);
    const at::Tensor x = flat.index_select(0, places);
    flat.index_copy_(0, places,
                     at::where(x > 0, x / penalties, x * penalties)
                         .clamp_max_(kLargestFloat)
                         .sub_(Get(changes.minus))
                         .add_(Get(changes.plus)));
  }
  return x_SV;
}

// The masks of step 2. What is ruled out stays so whatever else is done to it, so that their place
// among the processors does not matter.
at::Tensor StepSampler::Masked(const at::Tensor& x_SV) const {
  static_assert(std::endian::native == std::endian::little, "word t is bit t % 8 of byte t / 8");
  if (masked_.values.empty()) return x_SV;
  const at::Tensor masked_M = Get(masked_);
  const at::Tensor bytes_MB = numbers_.Get(masks_).view(at::kByte).view({masked_M.size(0), -1});
  const at::Tensor bits_MB8 =
      bytes_MB.unsqueeze(2).bitwise_right_shift(at::arange(8, bytes_MB.options())).bitwise_and_(1);
  const at::Tensor ruled_out_MV = bits_MB8.eq(0).flatten(1).narrow(1, 0, words_);
  return x_SV.index_copy(0, masked_M,
                         x_SV.index_select(0, masked_M).masked_fill_(ruled_out_MV, -kInfinity));
}

// Steps 5 and 6: the tokens, [D].
at::Tensor StepSampler::Drawn(const at::Tensor& x_DV) const {
  const at::Tensor top_D1 = x_DV.amax({1}, /*keepdim=*/true);
  // Where everything is ruled out all weights are 0, and the token too.
  const at::Tensor origin_D1 = top_D1.masked_fill(top_D1 == -kInfinity, 0.0);
  at::Tensor weights_DV = (x_DV - origin_D1).mul_(OfRows(Get(scales_))).exp2_();
  weights_DV.masked_fill_(weights_DV < kLeastWeight, 0.0);
  if (!cut_.values.empty()) {
    const at::Tensor cut_F = Get(cut_);
    weights_DV.index_copy_(
        0, cut_F, Likeliest(x_DV.index_select(0, cut_F), weights_DV.index_select(0, cut_F)));
  }
  weights_DV.masked_fill_(weights_DV < OfRows(Get(least_)), 0.0);
  const at::Tensor sums_DV = weights_DV.cumsum(1, at::kDouble);
  const at::Tensor total_D1 = sums_DV.narrow(1, sums_DV.size(1) - 1, 1);
  // Below the total by more than a sum in another order may be.
  constexpr double kBelowOne = 1 - 1e-12;
  const at::Tensor place_D1 = at::minimum(OfRows(Get(uniforms_)) * total_D1, total_D1 * kBelowOne);
  return (sums_DV > place_D1).logical_and_(weights_DV > 0).to(at::kByte).argmax(1);
}

// The weights that top-k and top-p keep, and 0 for the others.
at::Tensor StepSampler::Likeliest(const at::Tensor& x_FV, const at::Tensor& weights_FV) const {
  const std::int64_t words = x_FV.size(1);
  const at::Tensor order_FV =
      std::get<1>(at::sort(x_FV, /*stable=*/true, /*dim=*/1, /*descending=*/true));
  at::Tensor kept_FV = weights_FV.gather(1, order_FV);
  const at::Tensor rank_V = at::arange(words, order_FV.options());
  kept_FV.masked_fill_(rank_V >= OfRows(Get(top_k_)), 0.0);
  const at::Tensor sums_FV = kept_FV.cumsum(1, at::kDouble);
  const at::Tensor goal_F1 =
      (OfRows(Get(top_p_)) * sums_FV.narrow(1, words - 1, 1)).clamp_min_(kLeastShare);
  kept_FV.masked_fill_(sums_FV - kept_FV >= goal_F1, 0.0);
  return at::zeros_like(kept_FV).scatter_(1, order_FV, kept_FV);
}

// Step 7: log probabilities of the tokens [L], then the alternatives [L, tops] and theirs.
void StepSampler::Explain(const at::Tensor& logits_SV, const at::Tensor& tokens_S,
                          std::vector<at::Tensor>& pieces) const {
  const at::Tensor explained_L = Get(explained_);
  const at::Tensor x_LV = logits_SV.index_select(0, explained_L);
  const at::Tensor top_L1 = x_LV.amax({1}, /*keepdim=*/true);
  const at::Tensor norm_L1 =
      (x_LV - top_L1).exp_().sum({1}, /*keepdim=*/true, at::kDouble).log_().add_(top_L1);
  const auto add = [&](const at::Tensor& x) { pieces.push_back(x.to(at::kDouble).flatten()); };
  add(x_LV.gather(1, OfRows(tokens_S.index_select(0, explained_L))) - norm_L1);
  const std::int64_t count = tops();
  if (count == 0) return;
  const auto [sorted_LV, order_LV] =
      at::sort(x_LV, /*stable=*/true, /*dim=*/1, /*descending=*/true);
  add(order_LV.narrow(1, 0, count));
  add(sorted_LV.narrow(1, 0, count) - norm_L1);
}

void StepSampler::Read(Tokens& tokens) const {
  const std::size_t samples = there_.size(), explained = explained_.values.size();
  const auto count = static_cast<std::size_t>(tops());
  std::span<const double> left(results_.const_data_ptr<double>(),
                               static_cast<std::size_t>(results_.numel()));
  const auto take = [&](std::size_t size) {
    const std::span<const double> taken = left.first(size);
    left = left.subspan(size);
    return taken;
  };
  const auto tokens_S = take(samples), finite_S = take(samples), left_S = take(samples),
             chosen_L = take(explained), tops_L = take(explained * count),
             logprobs_L = take(explained * count);
  for (std::size_t s = 0; s < samples; ++s) {
    const std::size_t i = there_[s];
    if (!IsWanted(asked_[i], i == 0 ? nullptr : &tokens[i - 1])) {
      tokens[i] = NotSampled();
    } else if (finite_S[s] == 0) {
      tokens[i] = model::NotANumber();
    } else if (left_S[s] == 0 && asked_[i].context.params->constraint != nullptr) {
      tokens[i] = model::NoTokenLeft();
    } else {
      tokens[i]->token = static_cast<std::int32_t>(tokens_S[s]);
    }
  }
  for (std::size_t l = 0; l < explained; ++l) {
    const std::size_t i = there_[static_cast<std::size_t>(explained_.values[l])];
    if (!tokens[i].ok() || tokens[i]->token == kNotSampled) continue;
    tokens[i]->logprob = static_cast<float>(chosen_L[l]);
    const auto wanted = static_cast<std::size_t>(asked_[i].context.params->top_logprobs);
    for (std::size_t j = l * count; j < l * count + std::min(wanted, count); ++j) {
      tokens[i]->top.push_back({.token = static_cast<std::int32_t>(tops_L[j]),
                                .logprob = static_cast<float>(logprobs_L[j])});
    }
  }
}

void StepSampler::SampleHere(Tokens& tokens) {
  const auto words = static_cast<std::size_t>(words_);
  std::vector<model::SampleRow> sample_rows;
  std::size_t place = 0;  // of the row among those that came back
  for (const std::size_t i : here_) {
    if (on_device_ && rows_here_.values[place] != asked_[i].row) ++place;
    const auto row = on_device_ ? place : static_cast<std::size_t>(asked_[i].row);
    sample_rows.push_back({{logits_here_.const_data_ptr<float>() + row * words, words},
                           asked_[i].context,
                           asked_[i].draft});
  }
  Tokens sampled = sampler_.Sample(sample_rows);
  for (std::size_t i = 0; i < here_.size(); ++i) tokens[here_[i]] = std::move(sampled[i]);
}

}  // namespace llava::engine
