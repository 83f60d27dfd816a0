// Chooses the next token from a row of logits.
//
// What the parameters mean, in this order. Whatever samples, on whatever device, is checked against
// this; Sampler below is the reference, and the server samples on a GPU where the logits are there
// (server/torch/step_sampler.h). x is the row of logits in fp32, as the model computed it.
//
//   1. A logit that is NaN or +infinity is an error of the model, before anything else.
//   2. Logits processors (logits_processor.h), each of which changes some logits:
//      repetition penalty r of each token of the prompt or the answer: x / r where x > 0, else x *
//      r; then, of each token of the answer, x - presence - frequency * (times in the answer);
//      logit bias: x + bias;
//      min tokens: until the answer has so many, what would end it is ruled out (-infinity): the
//      model's end of answer unless ignore_eos, and stop_token_ids;
//      the form of the answer: what it does not allow is ruled out. Where it leaves no token, that
//      is an error of this choice alone.
//   3. The order of tokens: the larger logit goes first, and of equal logits the smaller id.
//   4. Temperature 0: the first token of that order.
//   5. Else each token has the weight 2^((x - the largest x) * log2(e) / temperature), which is 0
//      below 2^-126. Tokens of weight 0 are never drawn. Each filter keeps a beginning of the
//      order: top-k  the first top_k tokens; top-p  (Holtzman et al., arXiv 1904.09751) of what
//      top-k left, the fewest tokens whose
//             weights make at least top_p of the sum of those that top-k left; at least one;
//      min-p  (Nguyen et al., arXiv 2407.01082) of what is left, the tokens of weight >= min_p: at
//             least min_p times as likely as the likeliest token.
//   6. The draw: u = UniformOfDraw(seed, number of output_ids). Of the tokens that are left, by
//      ascending id, it is the first at which the sum of the weights so far exceeds u * (sum of all
//      of them). When everything is ruled out (by min tokens), it is token 0.
//   7. Log probabilities are of x before step 2, at temperature 1: x[token] - log(sum of e^x). The
//      alternatives are the first tokens of the order of step 3 by that x, at most 20.
//
// A choice is a function of its parameters, tokens, seed and row: what else is in the batch and how
// many threads sample does not matter. Weights and their sums are rounded, and differently on other
// devices and instruction sets; so two implementations may differ where u, the share of top_p or
// the weight of min_p comes within 1e-6 (relative) of a boundary, and nowhere else.
#ifndef LLAVA_MODEL_NETWORK_SAMPLER_H_
#define LLAVA_MODEL_NETWORK_SAMPLER_H_

#include <bit>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/sampled_token.h"
#include "base/sampling_params.h"
#include "model/kernels/cpu/dispatch.h"
#include "model/network/logits_processor.h"

namespace llava::model {

struct SampleContext {
  const SamplingParams* params = nullptr;  // validated
  ChoiceTokens tokens;
  // Of this choice, for `params` (MakeLogitsProcessors).
  std::span<const std::unique_ptr<LogitsProcessor>> processors;
  std::uint64_t seed = 0;
};

// What a row gives in which a logit is NaN or infinite.
absl::Status NotANumber();

// What a row gives whose answer has to have a form, where no token is left: this choice's trouble.
absl::Status NoTokenLeft();

// The random number in [0, 1) with which a choice of this seed draws its token number `step`.
double UniformOfDraw(std::uint64_t seed, std::uint64_t step);

// Keeps working memory between calls: one for each thread.
class Sampler {
 public:
  explicit Sampler(const KernelTable& kernels = Kernels()) : kernels_(kernels) {}

  // INTERNAL when a logit is NaN or infinite; INVALID_ARGUMENT when the answer's form left
  // no token, which is this choice's trouble alone. Token ids outside of the row are ignored.
  absl::StatusOr<SampledToken> Sample(std::span<const float> logits, const SampleContext& context);

 private:
  struct Candidate {
    float logit;
    std::int32_t token;
  };
  // So many tokens, or tokens of so much weight.
  struct Goal {
    bool counts_tokens;
    double amount;

    double Of(const RowShare& share) const {
      return counts_tokens ? static_cast<double>(share.count) : share.sum;
    }
  };
  // The weights from `low` on and below `above`, as the bits of floats, which order them. With the
  // tokens from `low` on a goal is reached, with those from `above` on it is not.
  struct Bracket {
    std::int32_t low = std::bit_cast<std::int32_t>(0x1p-126f);  // the least but 0
    std::int32_t above = std::bit_cast<std::int32_t>(1.0f) + 1;
    RowShare at_low{}, at_above{};  // of the tokens of at least that weight

    bool IsWide(std::int64_t few) const {
      return above - low > 1 && at_low.count - at_above.count > few;
    }
  };

  std::int32_t Draw(std::span<const float> row, const SamplingParams& params, float top,
                    double uniform);
  void Weigh(std::span<const float> row, float top, double scale);
  void Cut(float least);
  float KeepLikeliest(std::span<const float> row, Goal goal);
  void NarrowBySample(Goal goal, Bracket& bracket);
  void Narrow(Goal goal, Bracket& bracket) const;
  void Move(std::span<const float> weights, Goal goal, std::int32_t middle, Bracket& bracket) const;
  std::int32_t TokenAt(double place) const;
  static bool Likelier(const Candidate& a, const Candidate& b);
  void FindLargest(std::span<const float> row, std::size_t count);
  void AddLogprobs(std::span<const float> logits, int top, SampledToken& chosen);

  const KernelTable& kernels_;
  std::vector<float> row_;         // the logits as the processors leave them
  std::vector<float> weights_;     // proportional to probabilities, the largest is 1
  std::vector<float> block_sums_;  // of weights_ (KernelTable::weights_of_row)
  double total_ = 0;               // of weights_
  std::vector<float> sample_;      // some of weights_
  std::vector<Candidate> candidates_;
};

struct SampleRow {
  std::span<const float> logits;
  SampleContext context;
  // Unless it is kNotSampled: what the row before this one has to have given. If it did not, or was
  // not sampled, neither is this one: its token is kNotSampled.
  std::int32_t draft = kNotSampled;
};

// Samples the rows of a step on the threads that compute. Used by one thread at a time.
class BatchSampler {
 public:
  explicit BatchSampler(const KernelTable& kernels = Kernels()) : kernels_(kernels) {}

  // Row by row what Sampler gives. Rows of the same processors are those behind each other's
  // drafts, and no others.
  std::vector<absl::StatusOr<SampledToken>> Sample(std::span<const SampleRow> rows);

 private:
  const KernelTable& kernels_;
  std::vector<Sampler> samplers_;  // one for each thread
};

struct MaskedRow {
  LogitsProcessor* processor = nullptr;  // a mask; each of another choice
  ChoiceTokens tokens;
  std::span<std::uint32_t> left;  // as LogitsProcessor::Mask writes it
};

// Masks the rows on the threads that compute.
void ComputeMasks(std::span<const MaskedRow> rows);

}  // namespace llava::model

#endif  // LLAVA_MODEL_NETWORK_SAMPLER_H_
