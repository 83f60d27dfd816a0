#include "tests/bench/fleet/virtual_gpu.h"

#include <algorithm>

namespace llava::fleet {
namespace {

// Bytes and operations a second, and seconds; bf16.
constexpr double kReadWeights = 0.85 * 4.3e12;
constexpr double kReadCache = 0.70 * 4.3e12;
constexpr double kProducts = 540e12;
constexpr double kPromptAttention = 300e12;
constexpr double kElements = 3.0e12;
constexpr double kSmallKernel = 2.5e-6;
constexpr double kLaunch = 5.5e-6;
constexpr double kFewPictures = 3e-3;
constexpr double kPicture = 1.5e-3;
constexpr double kHost = 0.9e-3;
constexpr double kSample = 80e-6;

// What a step holds, as the roofline sees it.
struct Load {
  double rows = 0;
  double samples = 0;
  double prompts = 0;       // sequences with a chunk of a prompt
  double context = 0;       // cached tokens that decodes read
  double prompt_pairs = 0;  // of a query and a key, twice
};

Load LoadOf(const scheduling::StepPlan& plan, std::span<const scheduling::PlannedChunk> planned) {
  Load load;
  load.rows = plan.total_tokens;
  load.samples = static_cast<double>(plan.samples.size());
  for (std::size_t i = 0; i < plan.chunks.size(); ++i) {
    const auto queries = static_cast<double>(plan.chunks[i].token_ids.size());
    const double start = plan.chunks[i].start;
    if (planned[i].decode) {
      load.context += start + 1;
    } else {
      load.prompts += 1;
      load.prompt_pairs += queries * (queries + 2 * start);
    }
  }
  return load;
}

double DecoderSeconds(const ModelShape& m, const Load& load) {
  const double d = m.hidden;
  const double dim = m.head_dim;
  const double parameters =
      m.layers * (d * (m.heads + 2.0 * m.kv_heads) * dim + m.heads * dim * d + 3 * d * m.ffn);
  const double head = m.vocabulary * d;
  const double products =
      std::max(2 * (parameters + head) / kReadWeights,
               (2 * parameters * load.rows + 2 * head * load.samples) / kProducts);
  const double cached = load.context * static_cast<double>(m.BytesPerToken()) / kReadCache;
  const double prompts = 2.0 * m.layers * m.heads * dim * load.prompt_pairs / kPromptAttention;
  const double elements =
      m.layers * std::max(load.rows * (14 * d + 3.0 * m.ffn) * 2 / kElements, 8 * kSmallKernel);
  const double launches = m.layers * (12 + 3 * load.prompts) * kLaunch;
  return std::max(products + cached + prompts + elements, launches);
}

}  // namespace

Duration StepTime(const ModelShape& shape, const scheduling::StepPlan& plan,
                  std::span<const scheduling::PlannedChunk> chunks) {
  const Load load = LoadOf(plan, chunks);
  const auto pictures = static_cast<double>(plan.encodes.size());
  const double encoder = pictures == 0 ? 0 : std::max(kFewPictures, kPicture * pictures);
  const double seconds = DecoderSeconds(shape, load) + encoder + kHost + kSample * load.samples;
  return std::chrono::duration_cast<Duration>(std::chrono::duration<double>(seconds));
}

}  // namespace llava::fleet
