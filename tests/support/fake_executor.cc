#include "tests/support/fake_executor.h"

#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "server/scheduling/limits.h"

namespace llava::testing {
namespace {

constexpr std::uint64_t kFold = 0x9E3779B97F4A7C15u;

std::uint64_t Mix(std::uint64_t z) {
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return z ^ (z >> 31);
}

std::uint64_t Word(const Digest& digest) {
  std::uint64_t word;
  std::memcpy(&word, digest.bytes.data(), sizeof(word));
  return word;
}

// Of a version with an adapter, or without one.
std::uint64_t Mixed(const Digest& version, const scheduling::Adapter* adapter) {
  return adapter == nullptr ? Word(version) : Mix(Word(version) ^ Word(adapter->digest()));
}

std::uint64_t TokenInput(std::uint64_t version, std::int32_t token) {
  return Mix(version + kFold * static_cast<std::uint64_t>(token + 1));
}

std::uint64_t ImageInputAt(std::uint64_t version, std::uint64_t picture, int row) {
  return Mix(Mix(version ^ picture) + static_cast<std::uint64_t>(row) + 1);
}

std::uint64_t SlotValue(std::uint64_t before, std::uint64_t input, int position) {
  return Mix(before * 3 + input + static_cast<std::uint64_t>(position));
}

// What follows the token at `position`.
std::int32_t TokenFrom(std::uint64_t folded, double temperature, std::uint64_t seed,
                       std::span<const std::int32_t> prompt, int position) {
  const std::uint64_t bits = Mix(folded ^ (temperature > 0 ? seed : 0));
  if (!prompt.empty() && prompt.front() % 3 == 1 && bits % 4 != 0) {
    return position % kRepeatedTokens;
  }
  return static_cast<std::int32_t>(bits / 4 % kFakeVocabulary);
}

}  // namespace

std::vector<std::int32_t> FakeAnswer(const scheduling::Request& request, int choice, int tokens) {
  const std::uint64_t version = Word(request.version);
  const std::uint64_t adapted = Mixed(request.version, request.adapter.get());
  const std::uint64_t seed = scheduling::ChoiceSeed(request, choice);
  std::uint64_t last = 0;
  std::uint64_t folded = 0;
  int position = 0;
  const auto feed = [&](std::uint64_t input) {
    last = SlotValue(last, input, position++);
    folded = folded * kFold + last;
  };
  auto image = request.images.begin();
  for (const std::int32_t id : request.prompt_ids) {
    if (image != request.images.end() && position >= image->offset + image->count) ++image;
    const bool in_image = image != request.images.end() && position >= image->offset;
    feed(in_image ? ImageInputAt(version, Word(image->digest), position - image->offset)
                  : TokenInput(adapted, id));
  }
  std::vector<std::int32_t> answer;
  while (static_cast<int>(answer.size()) < tokens) {
    answer.push_back(
        TokenFrom(folded, request.sampling.temperature, seed, request.prompt_ids, position - 1));
    feed(TokenInput(adapted, answer.back()));
  }
  return answer;
}

Duration FakeCosts::OfEncodes(const scheduling::StepPlan& plan) const {
  Duration all{};
  for (const scheduling::EncodeImage& encode : plan.encodes) {
    all += image * encode.slice.work() / encode.slice.of;
  }
  return all;
}

Duration FakeCosts::OfForward(const scheduling::StepPlan& plan) const {
  if (plan.chunks.empty()) return {};
  return step + token * plan.total_tokens + key * plan.total_keys;
}

FakeExecutor::FakeExecutor(int num_blocks, ManualClock* clock, FakeCosts costs,
                           std::int32_t first_token)
    : clock_(clock),
      costs_(costs),
      first_token_(first_token),
      slots_(static_cast<std::size_t>(num_blocks) * kKvBlockTokens) {}

absl::Status FakeExecutor::AddVersion(std::shared_ptr<const engine::LoadedModel> model) {
  LLAVA_CHECK(versions_.insert(model->version()).second);
  return absl::OkStatus();
}

void FakeExecutor::RemoveVersion(const Digest& version) {
  LLAVA_CHECK_EQ(versions_.erase(version), 1u);
  for (const auto& [id, feature] : features_) LLAVA_CHECK_NE(feature.version, Word(version));
  for (const auto& [id, half] : unfinished_) LLAVA_CHECK_NE(half.feature.version, Word(version));
}

void FakeExecutor::DropFeatures(std::span<const scheduling::FeatureId> features) {
  for (const auto feature : features) {
    features_.erase(feature);
    unfinished_.erase(feature);
  }
}

absl::Status FakeExecutor::EncodeImages(const scheduling::StepPlan& plan) {
  LLAVA_CHECK(versions_.contains(plan.version));
  if (before_encode) {
    const absl::Status status = before_encode(plan);
    if (!status.ok()) {
      Scramble(plan);
      return status;
    }
  }
  for (const scheduling::EncodeImage& encode : plan.encodes) Encode(plan, encode);
  Spend(costs_.OfEncodes(plan));
  return absl::OkStatus();
}

void FakeExecutor::Encode(const scheduling::StepPlan& plan, const scheduling::EncodeImage& encode) {
  const scheduling::EncodeSlice& slice = encode.slice;
  const Feature feature{Word(plan.version), Word(encode.image->digest)};
  LLAVA_CHECK(slice.tiles > 0 && slice.parts > 0 && slice.first_part + slice.parts <= slice.of);
  LLAVA_CHECK(slice.tiles == 1 || slice.parts == slice.of);
  LLAVA_CHECK(slice.first_tile + slice.tiles <= encode.image->tiles);
  LLAVA_CHECK(!features_.contains(encode.feature));
  const auto [half, begun] = unfinished_.emplace(encode.feature, Unfinished{.feature = feature});
  LLAVA_CHECK_EQ(begun, encode.is_first());
  LLAVA_CHECK(half->second.feature.version == feature.version);
  LLAVA_CHECK(half->second.feature.image == feature.image);
  LLAVA_CHECK_EQ(half->second.tile, slice.first_tile);
  LLAVA_CHECK_EQ(half->second.part, slice.first_part);
  half->second.part = (slice.first_part + slice.parts) % slice.of;
  half->second.tile += half->second.part == 0 ? slice.tiles : 0;
  if (!encode.is_last()) return;
  unfinished_.erase(half);
  features_.emplace(encode.feature, feature);
}

absl::Status FakeExecutor::Launch(const scheduling::StepPlan& plan) {
  if (on_launch) on_launch();
  LLAVA_CHECK(versions_.contains(plan.version));
  LLAVA_CHECK(!plan.chunks.empty());
  LLAVA_CHECK(launched_ == nullptr);
  if (!behind) return Run(plan);
  launched_ = &plan;
  return absl::OkStatus();
}

absl::StatusOr<engine::Collected> FakeExecutor::Collect() {
  if (launched_ != nullptr) {
    const absl::Status status = Run(*std::exchange(launched_, nullptr));
    if (!status.ok()) return status;
  }
  engine::Collected collected{.result = std::exchange(result_, {}), .encode = std::nullopt};
  if (wait_for_step) {
    const auto encode = wait_for_step();
    if (!encode.ok()) return encode.status();
    collected.encode = *encode;
  }
  return collected;
}

absl::Status FakeExecutor::Run(const scheduling::StepPlan& plan) {
  result_ = {};
  Spend(costs_.OfForward(plan));
  if (before_forward) {
    const absl::Status status = before_forward(plan);
    if (!status.ok()) {
      Scramble(plan);
      return status;
    }
  }
  for (const scheduling::BlockCopy& copy : plan.copies) {
    std::memcpy(&slots_[static_cast<std::size_t>(copy.to.value()) * kKvBlockTokens],
                &slots_[static_cast<std::size_t>(copy.from.value()) * kKvBlockTokens],
                kKvBlockTokens * sizeof(slots_[0]));
  }
  for (const scheduling::Chunk& chunk : plan.chunks) RunChunk(plan, chunk);
  auto chunk = plan.chunks.begin();
  for (const scheduling::Sample& sample : plan.samples) {
    while (sample.row >= chunk->first_token + static_cast<int>(chunk->token_ids.size())) ++chunk;
    const bool is_wanted =
        sample.draft == kNotSampled || result_.tokens.back().token == sample.draft;
    result_.tokens.push_back(is_wanted ? SampleAt(*chunk, sample) : NotSampled());
  }
  if (after_forward) after_forward(plan, &result_);
  return absl::OkStatus();
}

SampledToken FakeExecutor::SampleAt(const scheduling::Chunk& chunk,
                                    const scheduling::Sample& sample) {
  std::uint64_t folded = 0;
  const int last = chunk.start + sample.row - chunk.first_token;
  for (int p = 0; p <= last; ++p) folded = folded * kFold + Slot(chunk.blocks, p);
  SampledToken token;
  token.token = TokenFrom(folded, sample.params->temperature, sample.seed, sample.prompt_ids, last);
  token.logprob = -static_cast<float>(token.token) / 8;
  for (int i = 0; i < sample.params->top_logprobs; ++i) {
    token.top.push_back({first_token_ + (token.token + i) % kFakeVocabulary,
                         token.logprob - static_cast<float>(i)});
  }
  token.token += first_token_;
  return token;
}

std::uint64_t& FakeExecutor::Slot(std::span<const scheduling::BlockId> blocks, int position) {
  const auto block = blocks[static_cast<std::size_t>(position / kKvBlockTokens)];
  return slots_[static_cast<std::size_t>(block.value()) * kKvBlockTokens +
                static_cast<std::size_t>(position % kKvBlockTokens)];
}

void FakeExecutor::RunChunk(const scheduling::StepPlan& plan, const scheduling::Chunk& chunk) {
  for (int i = 0; i < static_cast<int>(chunk.token_ids.size()); ++i) {
    const int position = chunk.start + i;
    const std::uint64_t before = position == 0 ? 0 : Slot(chunk.blocks, position - 1);
    Slot(chunk.blocks, position) = SlotValue(before, InputAt(plan, chunk, i), position);
  }
}

std::uint64_t FakeExecutor::InputAt(const scheduling::StepPlan& plan,
                                    const scheduling::Chunk& chunk, int i) {
  const std::uint64_t version = Word(plan.version);
  const int row = chunk.first_token + i;
  for (const scheduling::ImageRows& rows : plan.image_rows) {
    if (row < rows.first_row || row >= rows.first_row + rows.count) continue;
    const Feature& feature = features_.at(rows.feature);
    LLAVA_CHECK_EQ(feature.version, version);
    return ImageInputAt(version, feature.image, rows.feature_row + row - rows.first_row);
  }
  return TokenInput(Mixed(plan.version, chunk.adapter),
                    chunk.token_ids[static_cast<std::size_t>(i)]);
}

// After an error the content of the step's own blocks and features is undefined.
void FakeExecutor::Scramble(const scheduling::StepPlan& plan) {
  for (const scheduling::BlockCopy& copy : plan.copies) {
    for (int i = 0; i < kKvBlockTokens; ++i) Slot(std::span(&copy.to, 1), i) = 0xBAD;
  }
  for (const scheduling::Chunk& chunk : plan.chunks) {
    for (int i = 0; i < static_cast<int>(chunk.token_ids.size()); ++i) {
      Slot(chunk.blocks, chunk.start + i) = 0xBAD;
    }
  }
  for (const scheduling::EncodeImage& encode : plan.encodes) {
    unfinished_.erase(encode.feature);
    features_[encode.feature] = Feature{Word(plan.version), 0xBAD};
  }
}

void FakeExecutor::Spend(Duration time) {
  if (clock_ != nullptr) clock_->Advance(time);
}

bool FakeTextDecoder::may_stop() const { return stop_token_ >= 0; }

engine::TextDecoder::Delta FakeTextDecoder::Push(std::int32_t token) {
  if (token == stop_token_) return {std::exchange(held_back_, ""), true};
  return {std::exchange(held_back_, absl::StrCat(" ", token)), false};
}

engine::TextDecoder::Delta FakeTextDecoder::Finish() {
  return {std::exchange(held_back_, ""), false};
}

}  // namespace llava::testing
