#include "training/optim/gradient_buckets.h"

#include <algorithm>
#include <numeric>
#include <string_view>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "model/checkpoint/weight_names.h"

namespace llava::training {
namespace {

constexpr std::int64_t kFirstBucketElements = std::int64_t{1} << 18;  // 1 MiB
constexpr std::string_view kLayers = ".layers.";

ModelDepth::Part PartOf(const std::string& name, bool in_layer) {
  using Part = ModelDepth::Part;
  if (name.starts_with(model::kVisionPrefix)) {
    return in_layer ? Part::kTowerLayers : Part::kTowerInput;
  }
  if (name.starts_with(model::kProjectorPrefix)) return Part::kProjector;
  if (in_layer) return Part::kDecoderLayers;
  if (absl::StrContains(name, "embed_tokens") || absl::StrContains(name, "image_newline")) {
    return Part::kDecoderInput;
  }
  return absl::StrContains(name, "lm_head") || absl::StrContains(name, "patch_head")
             ? Part::kHead
             : Part::kDecoderEnd;
}

}  // namespace

ModelDepth DepthOf(const std::string& name) {
  const std::size_t layers = name.find(kLayers);
  ModelDepth depth{.part = PartOf(name, layers != std::string::npos), .layer = 0};
  if (layers == std::string::npos) return depth;
  const std::size_t first = layers + kLayers.size();
  const std::string number = name.substr(first, name.find('.', first) - first);
  if (!absl::SimpleAtoi(number, &depth.layer)) depth.layer = 0;
  return depth;
}

std::vector<int> DealOwners(const std::vector<std::int64_t>& elements, int ranks) {
  std::vector<std::size_t> order(elements.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return elements[a] > elements[b]; });
  std::vector<std::int64_t> load(static_cast<std::size_t>(ranks), 0);
  std::vector<int> owners(elements.size());
  for (const std::size_t i : order) {
    const auto least = std::min_element(load.begin(), load.end());
    owners[i] = static_cast<int>(least - load.begin());
    *least += elements[i];
  }
  return owners;
}

std::vector<GradientBucket> PlanBuckets(const std::vector<std::string>& names,
                                        const std::vector<std::int64_t>& elements,
                                        const std::vector<int>& owners, int ranks,
                                        std::int64_t bucket_elements) {
  std::vector<ModelDepth> depths;
  for (const std::string& name : names) depths.push_back(DepthOf(name));
  std::vector<std::size_t> order(names.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return depths[a] < depths[b]; });
  std::vector<GradientBucket> buckets;
  std::vector<GradientBucket> open(owners.empty() ? 1 : static_cast<std::size_t>(ranks));
  for (auto member = order.rbegin(); member != order.rend(); ++member) {
    const int owner = owners.empty() ? -1 : owners[*member];
    GradientBucket& bucket = open[owners.empty() ? 0 : static_cast<std::size_t>(owner)];
    bucket.owner = owner;
    bucket.members.push_back(*member);
    bucket.elements += elements[*member];
    const std::int64_t full =
        buckets.empty() ? std::min(kFirstBucketElements, bucket_elements) : bucket_elements;
    if (bucket.elements >= full) buckets.push_back(std::exchange(bucket, {}));
  }
  for (GradientBucket& bucket : open) {
    if (!bucket.members.empty()) buckets.push_back(std::move(bucket));
  }
  return buckets;
}

}  // namespace llava::training
