#include "training/data/scenes/scene.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "base/digest.h"
#include "base/utf8_stream.h"
#include "training/data/scenes/free_scene.h"

namespace llava::training::scenes {
namespace {

int Pick(Rng& rng, std::size_t bound) { return static_cast<int>(rng.Below(bound)); }

// Takes a random entry out of `cells`.
int TakeCell(Rng& rng, std::vector<int>* cells) {
  const auto at = static_cast<std::ptrdiff_t>(rng.Below(cells->size()));
  const int cell = (*cells)[static_cast<std::size_t>(at)];
  cells->erase(cells->begin() + at);
  return cell;
}

Text MakeText(Rng& rng, std::vector<int>* free_cells) {
  Text text;
  if (rng.Chance(0.5)) {
    text.value = std::to_string(rng.Below(10));
    text.cell = TakeCell(rng, free_cells);
    return text;
  }
  const int row = Pick(rng, 3);
  std::erase_if(*free_cells, [row](int cell) { return cell / 3 == row; });
  text.value = std::string(kWords[rng.Below(kWords.size())]);
  text.cell = row * 3 + 1;
  return text;
}

struct Plan {
  int objects;
  bool text;
};

Plan MakePlan(Rng& rng, Level level) {
  switch (level) {
    case Level::kOne:
      return rng.Chance(0.75) ? Plan{1, false} : Plan{0, true};
    case Level::kFew:
      return {1 + Pick(rng, 2), rng.Chance(0.3)};
    case Level::kFull:
      return {1 + Pick(rng, 3), rng.Chance(0.5)};
    default:
      return {3 + Pick(rng, 6), true};
  }
}

Scene Compose(Rng& rng, Level level) {
  const Plan plan = MakePlan(rng, level);
  Scene scene;
  std::vector<int> free_cells(kCells);
  for (int cell = 0; cell < kCells; ++cell) free_cells[static_cast<std::size_t>(cell)] = cell;
  if (plan.text) scene.text = MakeText(rng, &free_cells);
  while (static_cast<int>(scene.objects.size()) < plan.objects && !free_cells.empty()) {
    const int colour = Pick(rng, kGrey);
    const int shape = Pick(rng, kShapes.size());
    const int size = Pick(rng, kSizes.size());
    const bool taken = std::any_of(
        scene.objects.begin(), scene.objects.end(),
        [&](const Object& other) { return other.colour == colour && other.shape == shape; });
    if (taken) continue;
    scene.objects.push_back(InCell(colour, shape, size, TakeCell(rng, &free_cells)));
  }
  std::sort(scene.objects.begin(), scene.objects.end(),
            [](const Object& a, const Object& b) { return a.cell < b.cell; });
  scene.style_seed = rng.Next();
  return scene;
}

Scene ComposeAny(Rng& rng, Level level, std::int64_t index) {
  const bool in_cells = index % 3 == 0;
  switch (level) {
    case Level::kFree:
      return ComposeFree(rng, /*crowded=*/false);
    case Level::kFreeCrowded:
      return ComposeFree(rng, /*crowded=*/true);
    case Level::kMixed:
      return in_cells ? Compose(rng, Level::kFull) : ComposeFree(rng, /*crowded=*/false);
    case Level::kMixedCrowded:
      return in_cells ? Compose(rng, Level::kCrowded) : ComposeFree(rng, /*crowded=*/true);
    default:
      return Compose(rng, level);
  }
}

}  // namespace

Object InCell(int colour, int shape, int size, int cell) {
  Object object;
  object.colour = colour;
  object.shape = shape;
  object.size = size;
  object.cell = cell;
  object.x = (object.column() + 0.5) / 3;
  object.y = (object.row() + 0.5) / 3;
  return object;
}

std::string Object::Name() const {
  return absl::StrCat(AbslView(kColours[static_cast<std::size_t>(colour)]), " ",
                      AbslView(kShapes[static_cast<std::size_t>(shape)]));
}

std::string Object::SizedName() const {
  return absl::StrCat(AbslView(kSizes[static_cast<std::size_t>(size)]), " ", Name());
}

std::string Text::Name() const { return absl::StrCat(is_digit() ? "digit " : "word ", value); }

std::string Scene::Signature() const {
  std::string signature;
  for (const Object& object : objects) {
    absl::StrAppend(&signature, object.SizedName(), "@", object.cell, ";");
  }
  if (text) absl::StrAppend(&signature, text->value, "@", text->cell);
  return signature;
}

std::optional<Level> ParseLevel(std::string_view name) {
  const auto found = std::find(kLevels.begin(), kLevels.end(), name);
  if (found == kLevels.end()) return std::nullopt;
  return static_cast<Level>(found - kLevels.begin());
}

bool IsHeldOut(const Scene& scene) { return Sha256Of(scene.Signature()).bytes[0] % 8 == 0; }

Scene MakeScene(std::uint64_t seed, Split split, Level level, std::int64_t index) {
  const Digest digest = Sha256Of(absl::StrCat("scene ", seed, " ", static_cast<int>(split), " ",
                                              static_cast<int>(level), " ", index));
  std::uint64_t scene_seed = 0;
  for (int i = 0; i < 8; ++i)
    scene_seed = scene_seed << 8 | digest.bytes[static_cast<std::size_t>(i)];
  Rng rng(scene_seed);
  for (;;) {
    Scene scene = ComposeAny(rng, level, index);
    if (IsHeldOut(scene) == (split == Split::kHeldOut)) return scene;
  }
}

}  // namespace llava::training::scenes
