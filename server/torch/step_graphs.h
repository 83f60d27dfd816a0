// Steps that only decode, and pictures through the vision tower, recorded once for each size and
// from then on one launch each.
#ifndef LLAVA_SERVER_TORCH_STEP_GRAPHS_H_
#define LLAVA_SERVER_TORCH_STEP_GRAPHS_H_

#include <ATen/core/Tensor.h>

#include <compare>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "base/digest.h"
#include "model/attention/kv_cache.h"
#include "model/attention/paged_attention.h"
#include "server/engine/executor.h"
#include "server/scheduling/plan.h"
#include "server/torch/step_graph.h"
#include "server/torch/step_inputs.h"
#include "server/torch/torch_model.h"

namespace llava::engine {

// A step of one token a sequence is padded up to the next size, its rows and the width of its block
// tables, so that a few graphs serve every batch. A padded row is a sequence of one token, alone in
// a block that nobody owns; what it computes is dropped. Whatever else a step holds (longer chunks,
// pictures, adapters), a size that is met for the first time, and one that the device could not
// record, are run launch by launch. Tiles of pictures are not padded. Of one device. Engine thread
// only, under c10::InferenceMode. Shape letters: N tokens of the step, E hidden size.
class StepGraphs {
 public:
  // Steps of more rows are never recorded.
  static constexpr int kMostRows = 256;
  // Nor are more tiles of pictures at a time.
  static constexpr int kMostTiles = 8;
  // At a time, of all versions together.
  static constexpr int kMostGraphs = 64;

  struct Options {
    std::unique_ptr<GraphBackend> backend;  // null: no graphs
    std::int64_t max_bytes = 0;             // nothing is recorded once the graphs take so much
  };

  // `cache` outlives this; `spare` is a block of it that no plan names. `warn`: see
  // Executor::set_warn.
  StepGraphs(Options options, model::KvCache& cache, std::int32_t spare,
             std::function<void(const std::string&)> warn);

  // The hidden states [N, E] of the step's tokens, which are those that Llava::Forward gives of all
  // rows, until the next Run; its copies of blocks are done. nullopt, with nothing done, for a step
  // that is to be run launch by launch. Throws c10::Error when memory or the device fails.
  std::optional<at::Tensor> Run(const scheduling::StepPlan& plan, const TorchModel& model);

  using Features = std::function<at::Tensor(const at::Tensor& pixels)>;
  // features(pixels), of tiles [B, 3, side, side] on the device, until the next Encode. The graph
  // holds on to nothing but what `features` reads of the version. nullopt and throws as above.
  std::optional<at::Tensor> Encode(const Digest& version, const at::Tensor& pixels,
                                   const Features& features);

  // Memory was short: frees all graphs, and from now on they may take half of what they might.
  void GiveMemory();

  // Frees the graphs of a version, whose weights they read.
  void Drop(const Digest& version);

  GraphCounts counts() const { return counts_; }

 private:
  struct Size {
    Digest version;
    int rows = 0;   // with those that pad; tiles of pictures
    int width = 0;  // blocks of a table; 0 for pictures
    auto operator<=>(const Size&) const = default;
  };
  // A graph and all that it reads and writes, which stays where it is.
  struct Recorded {
    std::optional<StepInputs> inputs;                  // of a step
    std::unique_ptr<model::PagedAttention> attention;  // of a step
    at::Tensor pixels;                                 // of pictures
    at::Tensor result;
    std::unique_ptr<StepGraph> graph;  // destroyed first
  };
  struct Bucket {
    bool was_met = false;
    bool has_failed = false;
    std::unique_ptr<Recorded> recorded;
    std::uint64_t last_run = 0;
  };

  static bool IsOnlyDecodes(const scheduling::StepPlan& plan);
  static Size SizeOf(const scheduling::StepPlan& plan);
  const scheduling::StepPlan& Padded(const scheduling::StepPlan& plan, int rows);
  // Null: run it launch by launch.
  Bucket* Find(const Size& size);
  bool MakeRoom();
  // `work`: what `recorded` is to do, whose inputs are filled, and its result. Has a graph then,
  // unless it fails.
  void Record(Bucket& bucket, std::unique_ptr<Recorded> recorded,
              const std::function<at::Tensor(Recorded&)>& work, const std::string& what);
  at::Tensor Replay(Bucket& bucket);
  void Free(Bucket& bucket);

  const std::unique_ptr<GraphBackend> backend_;
  std::int64_t max_bytes_;
  model::KvCache& cache_;
  const scheduling::BlockId spare_;
  const std::function<void(const std::string&)> warn_;
  scheduling::StepPlan padded_;  // kept for its memory
  std::map<Size, Bucket> buckets_;
  std::uint64_t runs_ = 0;
  GraphCounts counts_;
};

}  // namespace llava::engine

#endif  // LLAVA_SERVER_TORCH_STEP_GRAPHS_H_
