#include "training/data/scenes/patch_labels.h"

#include <algorithm>
#include <array>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/check.h"

namespace llava::training::scenes {
namespace {

constexpr int kLeastShare = 20;

template <typename Names>
void Append(const Names& names, const char* prefix, std::vector<std::string>* classes) {
  for (const auto& name : names) classes->push_back(absl::StrCat(prefix, std::string(name)));
}

std::uint8_t Majority(const std::vector<std::uint8_t>& pixels, int top, int left, int patch) {
  std::array<int, 256> count{};
  for (int y = top; y < top + patch; ++y) {
    for (int x = left; x < left + patch; ++x) {
      ++count[pixels[static_cast<std::size_t>(y * kPictureSize + x)]];
    }
  }
  const auto best = std::max_element(count.begin() + 1, count.end());
  return *best * kLeastShare >= patch * patch ? static_cast<std::uint8_t>(best - count.begin()) : 0;
}

void AppendMiddles(const Picture& picture, int side, std::vector<std::uint8_t>* labels) {
  std::vector<std::uint8_t> middles(static_cast<std::size_t>(side * side));
  const auto index = [side](double share) {
    return std::clamp(static_cast<int>(share * side), 0, side - 1);
  };
  for (const auto& [x, y] : picture.middles) {
    middles[static_cast<std::size_t>(index(y) * side + index(x))] = 1;
  }
  labels->insert(labels->end(), middles.begin(), middles.end());
}

}  // namespace

std::vector<LabelPlane> PatchPlanes() {
  std::vector<LabelPlane> planes = {{"what", {"nothing"}},
                                    {"colour", {"nothing"}},
                                    {"size", {"nothing"}},
                                    {"middle", {"nothing", "something"}},
                                    {"place", {}}};
  Append(kShapes, "", &planes[0].classes);
  Append(std::array{"0", "1", "2", "3", "4", "5", "6", "7", "8", "9"}, "digit ",
         &planes[0].classes);
  Append(kWords, "word ", &planes[0].classes);
  Append(kColours, "", &planes[1].classes);
  Append(kSizes, "", &planes[2].classes);
  Append(kPlaces, "", &planes[4].classes);
  return planes;
}

std::vector<std::uint8_t> LabelPatches(const Picture& picture, int patch) {
  LLAVA_CHECK_GT(patch, 0);
  LLAVA_CHECK_EQ(kPictureSize % patch, 0);
  std::vector<std::uint8_t> labels;
  for (const auto* pixels : {&picture.what, &picture.colour, &picture.size}) {
    for (int y = 0; y < kPictureSize; y += patch) {
      for (int x = 0; x < kPictureSize; x += patch) {
        labels.push_back(Majority(*pixels, y, x, patch));
      }
    }
  }
  AppendMiddles(picture, kPictureSize / patch, &labels);
  for (int y = patch / 2; y < kPictureSize; y += patch) {
    for (int x = patch / 2; x < kPictureSize; x += patch) {
      labels.push_back(static_cast<std::uint8_t>(y / kCell * 3 + x / kCell));
    }
  }
  return labels;
}

}  // namespace llava::training::scenes
