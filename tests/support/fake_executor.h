// An executor that computes nothing useful but notices everything: each KV slot holds a number that
// depends on all tokens and images before it, and the next token is a hash of all slots of the
// sequence as its block table names them. A wrong table, a stale cached block, a lost copy or a
// wrong image changes the answer, which FakeAnswer tells without any blocks.
#ifndef LLAVA_TESTS_SUPPORT_FAKE_EXECUTOR_H_
#define LLAVA_TESTS_SUPPORT_FAKE_EXECUTOR_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <unordered_map>
#include <vector>

#include "base/clock.h"
#include "base/digest.h"
#include "server/engine/executor.h"
#include "server/engine/text_decoder.h"

namespace llava::testing {

inline constexpr int kFakeVocabulary = 97;
// Of a prompt that begins with an id of remainder 1 by 3, three of four tokens only count
// positions, so that text repeats and can be foreseen; the fourth depends on all slots as ever.
inline constexpr int kRepeatedTokens = 5;

class FakeModel final : public engine::LoadedModel {
 public:
  explicit FakeModel(const Digest& version) : version_(version) {}
  const Digest& version() const override { return version_; }

 private:
  const Digest version_;
};

// Changes every token that is computed with it.
class FakeAdapter final : public scheduling::Adapter {
 public:
  explicit FakeAdapter(const Digest& digest) : digest_(digest) {}
  const Digest& digest() const override { return digest_; }

 private:
  const Digest digest_;
};

// The answer of one choice, one token after the other, without stop rules.
std::vector<std::int32_t> FakeAnswer(const scheduling::Request& request, int choice, int tokens);

// What steps cost on the fake device. All 0: the clock is left alone.
struct FakeCosts {
  Duration step{};
  Duration token{};
  Duration image{};  // a tile, all parts of the vision tower
  Duration key{};    // that a token attends to

  Duration OfEncodes(const scheduling::StepPlan& plan) const;
  Duration OfForward(const scheduling::StepPlan& plan) const;
  Duration Of(const scheduling::StepPlan& plan) const { return OfEncodes(plan) + OfForward(plan); }
};

// Engine thread only, like every executor. Aborts when the plan breaks the executor's contract.
class FakeExecutor final : public engine::Executor {
 public:
  // `clock` may be null; otherwise steps take FakeCosts of its time.
  // `first_token`: added to every token.
  explicit FakeExecutor(int num_blocks, ManualClock* clock = nullptr, FakeCosts costs = {},
                        std::int32_t first_token = 0);

  // Called before each step; an error makes it fail, and scrambles what it would have written.
  std::function<absl::Status(const scheduling::StepPlan&)> before_forward;
  std::function<absl::Status(const scheduling::StepPlan&)> before_encode;
  // Called with what a step gave, which it may change.
  std::function<void(const scheduling::StepPlan&, scheduling::StepResult*)> after_forward;

  // What Collect says of the device's time and of its errors; without it, the calls have waited.
  std::function<absl::StatusOr<std::optional<Duration>>()> wait_for_step;

  // Whether a step is computed in Collect, as by a device that runs behind, and not in Launch.
  bool behind = false;
  std::function<void()> on_launch;  // called by Launch before anything else

  engine::GraphCounts graph_counts;  // what it says of its graphs

  absl::Status AddVersion(std::shared_ptr<const engine::LoadedModel> model) override;
  void RemoveVersion(const Digest& version) override;
  void DropFeatures(std::span<const scheduling::FeatureId> features) override;
  absl::Status EncodeImages(const scheduling::StepPlan& plan) override;
  absl::Status Launch(const scheduling::StepPlan& plan) override;
  absl::StatusOr<engine::Collected> Collect() override;
  bool runs_behind() const override { return behind; }
  engine::GraphCounts graphs() const override { return graph_counts; }

  std::size_t features() const { return features_.size() + unfinished_.size(); }
  std::size_t unfinished() const { return unfinished_.size(); }  // half-encoded images
  std::size_t versions() const { return versions_.size(); }

 private:
  struct Feature {
    std::uint64_t version = 0;
    std::uint64_t image = 0;
  };

  // How far a picture's encoding has come; the next slice has to begin there.
  struct Unfinished {
    Feature feature;
    int tile = 0;
    int part = 0;
  };

  absl::Status Run(const scheduling::StepPlan& plan);
  void Encode(const scheduling::StepPlan& plan, const scheduling::EncodeImage& encode);
  std::uint64_t& Slot(std::span<const scheduling::BlockId> blocks, int position);
  void RunChunk(const scheduling::StepPlan& plan, const scheduling::Chunk& chunk);
  std::uint64_t InputAt(const scheduling::StepPlan& plan, const scheduling::Chunk& chunk, int i);
  void Scramble(const scheduling::StepPlan& plan);
  SampledToken SampleAt(const scheduling::Chunk& chunk, const scheduling::Sample& sample);
  void Spend(Duration time);

  ManualClock* const clock_;
  const FakeCosts costs_;
  const std::int32_t first_token_;
  std::vector<std::uint64_t> slots_;  // [blocks, 16]
  std::set<Digest> versions_;
  std::unordered_map<scheduling::FeatureId, Feature> features_;
  std::unordered_map<scheduling::FeatureId, Unfinished> unfinished_;
  const scheduling::StepPlan* launched_ = nullptr;  // and not run yet
  scheduling::StepResult result_;                   // of the step that was run
};

// Text of token 7 is " 7"; a stop string is a token id (or -1 for none).
class FakeTextDecoder final : public engine::TextDecoder {
 public:
  explicit FakeTextDecoder(std::int32_t stop_token) : stop_token_(stop_token) {}
  bool may_stop() const override;
  Delta Push(std::int32_t token) override;
  Delta Finish() override;

 private:
  const std::int32_t stop_token_;
  std::string held_back_;  // one token: the engine must not forget Finish
};

}  // namespace llava::testing

#endif  // LLAVA_TESTS_SUPPORT_FAKE_EXECUTOR_H_
