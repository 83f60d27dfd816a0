// What adapter_config.json says of a LoRA adapter in PEFT's layout (Hugging Face's library of
// that name): which modules it changes, and each one's rank and scale. Free of LibTorch.
#ifndef LLAVA_MODEL_CHECKPOINT_ADAPTER_CONFIG_H_
#define LLAVA_MODEL_CHECKPOINT_ADAPTER_CONFIG_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "model/checkpoint/module_pattern.h"

namespace llava::model {

inline constexpr char kAdapterConfigName[] = "adapter_config.json";
inline constexpr int kMaxAdapterRank = 256;

// Modules are named as in the network that PEFT wrapped.
class AdapterConfig {
 public:
  // Of the file in `dir`. NOT_FOUND without it; INVALID_ARGUMENT for a setting of a wrong type or
  // out of range; UNIMPLEMENTED, naming the setting, for one that says more than y = W x + scale B
  // A x and magnitudes do: a kind of adapter other than LORA, biases, modules saved as a whole, an
  // initialisation that changes the base, and settings that are not known here.
  static absl::StatusOr<AdapterConfig> Read(const std::string& dir);

  // The base as it was called when the adapter was trained; may be empty.
  const std::string& base() const { return base_; }
  // "q_proj, v_proj", "all-linear" or the expression.
  const std::string& targets_text() const { return targets_text_; }

  // Whether the adapter is to change this module, a linear layer of the decoder.
  bool Targets(std::string_view module) const;
  // In [1, kMaxAdapterRank].
  int RankOf(std::string_view module) const;
  // What B A is multiplied by: alpha / rank, or with use_rslora alpha / sqrt(rank).
  double ScaleOf(std::string_view module) const;
  // Whether rows of the sum are scaled to magnitudes (use_dora).
  bool dora() const { return dora_; }

 private:
  template <typename T>
  using ByModule = std::vector<std::pair<ModulePattern, T>>;

  std::string base_;
  std::string targets_text_;
  bool all_linear_ = false;
  ModulePattern targets_;
  ModulePattern excluded_;
  int rank_ = 8;
  double alpha_ = 8;
  bool rslora_ = false;
  bool dora_ = false;
  std::vector<std::int64_t> layers_;  // that are adapted; empty: all
  ByModule<int> rank_pattern_;
  ByModule<double> alpha_pattern_;

  friend class AdapterConfigReader;
};

}  // namespace llava::model

#endif  // LLAVA_MODEL_CHECKPOINT_ADAPTER_CONFIG_H_
