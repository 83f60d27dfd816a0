#include "training/memory/backward_pass.h"

#include <algorithm>
#include <deque>

#include "absl/strings/str_cat.h"
#include "training/optim/gradient_buckets.h"

namespace llava::training {
namespace {

constexpr std::int64_t kFloat = 4;  // bytes

std::vector<std::int64_t> ElementsOf(const std::vector<LearnedParameter>& parameters) {
  std::vector<std::int64_t> elements;
  for (const LearnedParameter& parameter : parameters) elements.push_back(parameter.elements);
  return elements;
}

bool IsSharded(const GradientRules& rules) { return rules.sharded && rules.ranks > 1; }

// One pass of a step.
class Simulation {
 public:
  Simulation(const std::vector<BlockMemory>& blocks,
             const std::vector<LearnedParameter>& parameters, const GradientRules& rules,
             PassMemory* most)
      : blocks_(blocks),
        parameters_(parameters),
        rules_(rules),
        owned_(OwnedByHeaviest(parameters, rules)),
        most_(*most) {
    for (const LearnedParameter& parameter : parameters) all_ += parameter.elements;
    if (rules.ranks == 1) return;
    std::vector<std::string> names;
    for (const LearnedParameter& parameter : parameters) names.push_back(parameter.name);
    const std::vector<std::int64_t> elements = ElementsOf(parameters);
    const std::vector<int> owners =
        IsSharded(rules) ? DealOwners(elements, rules.ranks) : std::vector<int>();
    buckets_ = PlanBuckets(names, elements, owners, rules.ranks);
  }

  // Pass `number` of rules.passes, counted from 0.
  void Run(std::int64_t number) {
    const bool last = number + 1 == rules_.passes;
    const bool is_sent = rules_.ranks > 1 && (last || IsSharded(rules_));
    const std::string pass =
        rules_.passes == 1 ? "" : absl::StrCat(" of pass ", number + 1, " of ", rules_.passes);
    Begin(number);
    std::size_t launched = 0;
    for (std::size_t block = 0; block < blocks_.size(); ++block) {
      const std::int64_t adding = MakeGradients(block);
      Note(blocks_[block].working + adding, 0, blocks_[block].name + pass);
      now_.activations -= blocks_[block].kept;
      made_through_ = block;
      while (is_sent && launched < buckets_.size() && IsComplete(buckets_[launched])) {
        Launch(buckets_[launched++]);
      }
    }
    while (is_sent && launched < buckets_.size()) Launch(buckets_[launched++]);
    while (!on_their_way_.empty()) Settle();
    if (last) Update();
  }

 private:
  bool is_coarse() const { return rules_.element_bytes < kFloat; }

  std::int64_t OwnedElements() const {
    std::int64_t elements = 0;
    for (std::size_t i = 0; i < parameters_.size(); ++i) {
      if (owned_[i]) elements += parameters_[i].elements;
    }
    return elements;
  }

  // What the forward pass and earlier passes leave.
  void Begin(std::int64_t number) {
    now_ = {};
    grows_in_place_ = false;
    has_earlier_ = number > 0;
    for (const BlockMemory& block : blocks_) now_.activations += block.kept;
    if (number == 0) return;
    if (IsSharded(rules_)) {
      now_.sums = kFloat * OwnedElements();
    } else if (is_coarse()) {
      now_.sums = kFloat * all_;
    } else {
      now_.gradients = kFloat * all_;
      grows_in_place_ = true;
    }
  }

  // The gradients of a block; most that is there only until it is added to an earlier one.
  std::int64_t MakeGradients(std::size_t block) {
    std::int64_t largest = 0;
    for (const LearnedParameter& parameter : parameters_) {
      if (parameter.block != block) continue;
      largest = std::max(largest, parameter.elements * rules_.element_bytes);
      if (!grows_in_place_) now_.gradients += parameter.elements * rules_.element_bytes;
    }
    return grows_in_place_ ? largest : 0;
  }

  bool IsComplete(const GradientBucket& bucket) const {
    return std::all_of(bucket.members.begin(), bucket.members.end(), [&](std::size_t member) {
      return parameters_[member].block <= made_through_;
    });
  }

  void Launch(const GradientBucket& bucket) {
    now_.sent += kFloat * bucket.elements;
    Note(0, 0, "sending gradients");
    now_.gradients -= rules_.element_bytes * bucket.elements;
    if (!IsSharded(rules_) && is_coarse() && has_earlier_) now_.sums -= kFloat * bucket.elements;
    on_their_way_.push_back(&bucket);
    if (on_their_way_.size() > kBucketsOnTheirWay) Settle();
  }

  void Settle() {
    const GradientBucket& bucket = *on_their_way_.front();
    on_their_way_.pop_front();
    now_.sent -= kFloat * bucket.elements;
    if (bucket.owner < 0 || owned_[bucket.members.front()]) {
      now_.sums += kFloat * bucket.elements;
    }
  }

  // bf16 gradients are copied to fp32 one at a time; sharded, the new weights are sent in buckets.
  void Update() {
    if (IsSharded(rules_)) {
      now_.sums = kFloat * OwnedElements();
    } else if (rules_.passes > 1 && is_coarse()) {
      now_.gradients = 0;
      now_.sums = kFloat * all_;
    }
    std::int64_t working = 0;
    if (now_.gradients > 0 && is_coarse()) {
      for (const LearnedParameter& parameter : parameters_) {
        working = std::max(working, kFloat * parameter.elements);
      }
    }
    if (IsSharded(rules_)) {
      std::int64_t largest = 0;
      for (const GradientBucket& bucket : buckets_) largest = std::max(largest, bucket.elements);
      constexpr auto kMessages = static_cast<std::int64_t>(kBucketsOnTheirWay) + 1;
      working = rules_.element_bytes * std::min(all_, kMessages * largest);
    }
    Note(0, working, "the update");
  }

  void Note(std::int64_t activations, std::int64_t working, const std::string& moment) {
    PassMemory here = now_;
    here.activations += activations;
    here.working = working;
    here.moment = moment;
    if (here.all() > most_.all() || most_.moment.empty()) most_ = here;
  }

  const std::vector<BlockMemory>& blocks_;
  const std::vector<LearnedParameter>& parameters_;
  const GradientRules& rules_;
  const std::vector<bool> owned_;
  std::vector<GradientBucket> buckets_;
  std::int64_t all_ = 0;  // elements
  PassMemory& most_;
  PassMemory now_;
  std::deque<const GradientBucket*> on_their_way_;
  std::size_t made_through_ = 0;  // blocks whose gradients are there
  bool grows_in_place_ = false;   // this pass adds to the gradients of earlier ones
  bool has_earlier_ = false;      // there were earlier passes
};

}  // namespace

std::vector<bool> OwnedByHeaviest(const std::vector<LearnedParameter>& parameters,
                                  const GradientRules& rules) {
  std::vector<bool> owned(parameters.size(), true);
  if (!IsSharded(rules)) return owned;
  const std::vector<int> owners = DealOwners(ElementsOf(parameters), rules.ranks);
  std::vector<std::int64_t> load(static_cast<std::size_t>(rules.ranks), 0);
  for (std::size_t i = 0; i < owners.size(); ++i) {
    load[static_cast<std::size_t>(owners[i])] += parameters[i].elements;
  }
  const auto heaviest = static_cast<int>(std::max_element(load.begin(), load.end()) - load.begin());
  for (std::size_t i = 0; i < owners.size(); ++i) owned[i] = owners[i] == heaviest;
  return owned;
}

PassMemory MostOfStep(const std::vector<BlockMemory>& blocks,
                      const std::vector<LearnedParameter>& parameters, const GradientRules& rules) {
  PassMemory most;
  Simulation simulation(blocks, parameters, rules, &most);
  // The first pass, one in the middle and the last one: the others in the middle are alike.
  simulation.Run(0);
  if (rules.passes > 2) simulation.Run(1);
  if (rules.passes > 1) simulation.Run(rules.passes - 1);
  return most;
}

}  // namespace llava::training
