// Full sharding of the decoder's layers (ZeRO stage 3, Rajbhandari et al., arXiv 1910.02054): one
// rank keeps the numbers of a matrix, and the others fetch them before its layer is computed, in
// the forward pass and again in the backward pass, and drop them behind it. A rank has its own
// share and two layers at a time: the one that is computed and the one that comes next.
//
// Vectors (norms, biases), embeddings, the head, projector and tower are whole on every rank.
#ifndef LLAVA_TRAINING_OPTIM_WEIGHT_SHARDS_H_
#define LLAVA_TRAINING_OPTIM_WEIGHT_SHARDS_H_

#include <ATen/core/Tensor.h>

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "model/network/llava.h"
#include "training/distributed/ranks.h"
#include "training/optim/gradient_sync.h"

namespace llava::training {

// The layer whose matrix the weight is, by its name
// ("language_model.model.layers.7.mlp.up_proj.weight") and shape; nothing: it is whole on every
// rank.
std::optional<int> ShardedLayer(std::string_view name, const at::Tensor& weight);

// Used by the training thread; its holds also by the thread of the backward pass. Every rank makes
// the same calls in the same order. While it lives, what is not held is not a number on ranks that
// do not own it, so that whoever reads it sees that.
class WeightShards {
 public:
  // A trained matrix stays with the rank that updates it, a frozen one with the rank that has
  // least. REQUIRES: several ranks, a sharded `sync`, layers that are recomputed in the backward
  // pass. The model and the ranks outlive this.
  WeightShards(Ranks& ranks, model::Llava& model, const GradientSync& sync);
  ~WeightShards();
  WeightShards(const WeightShards&) = delete;
  WeightShards& operator=(const WeightShards&) = delete;

  // The rank that keeps the weight; -1: all of them have it.
  int OwnerOf(std::string_view name) const;

  // After the passes through the decoder of each micro batch, forward and backward, whether this
  // rank had any: the others may still want its share. The errors of Ranks::Broadcast.
  absl::Status EndPass();

  // What went wrong in this pass so far; whatever was computed since is to be thrown away.
  const absl::Status& status() const { return status_; }

  // Everything on every rank, until DropAll: to be validated, saved as one, or published.
  absl::Status FetchAll();
  void DropAll();

 private:
  struct Matrix {
    at::Tensor weight;
    int owner = 0;
    at::Tensor arriving = {};  // elsewhere than at its owner
    Ranks::Pending pending = {};
  };
  struct Layer {
    std::vector<Matrix> matrices;
    int holders = 0;  // computations that read it, and the one to come
  };

  std::shared_ptr<const void> Hold(int layer);
  int LayerAt(int place) const;
  void BeginFetch(Layer& layer);
  void EndFetch(Layer& layer);
  void Drop(Layer& layer);

  Ranks& ranks_;
  model::Llava& model_;
  std::vector<Layer> layers_;
  std::map<std::string, int, std::less<>> owners_;
  int place_ = 0;  // of the next hold: the layers up, then down
  bool all_ = false;
  absl::Status status_;
};

}  // namespace llava::training

#endif  // LLAVA_TRAINING_OPTIM_WEIGHT_SHARDS_H_
