#include "training/data/scenes/scene.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "base/digest.h"
#include "base/utf8_stream.h"

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
  if (rng.Chance(0.5)) return {std::to_string(rng.Below(10)), TakeCell(rng, free_cells)};
  const int row = Pick(rng, 3);
  std::erase_if(*free_cells, [row](int cell) { return cell / 3 == row; });
  return {std::string(kWords[rng.Below(kWords.size())]), row * 3 + 1};
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
    case Level::kCrowded:
      return {3 + Pick(rng, 6), true};
  }
  return {1, false};
}

Scene Compose(Rng& rng, Level level) {
  const Plan plan = MakePlan(rng, level);
  Scene scene;
  std::vector<int> free_cells(kCells);
  for (int cell = 0; cell < kCells; ++cell) free_cells[static_cast<std::size_t>(cell)] = cell;
  if (plan.text) scene.text = MakeText(rng, &free_cells);
  while (static_cast<int>(scene.objects.size()) < plan.objects && !free_cells.empty()) {
    Object object{Pick(rng, kColours.size()), Pick(rng, kShapes.size()), Pick(rng, kSizes.size())};
    const bool taken =
        std::any_of(scene.objects.begin(), scene.objects.end(), [&](const Object& other) {
          return other.colour == object.colour && other.shape == object.shape;
        });
    if (taken) continue;
    object.cell = TakeCell(rng, &free_cells);
    scene.objects.push_back(object);
  }
  std::sort(scene.objects.begin(), scene.objects.end(),
            [](const Object& a, const Object& b) { return a.cell < b.cell; });
  scene.style_seed = rng.Next();
  return scene;
}

}  // namespace

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
  if (name == "one") return Level::kOne;
  if (name == "few") return Level::kFew;
  if (name == "full") return Level::kFull;
  if (name == "crowded") return Level::kCrowded;
  return std::nullopt;
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
    Scene scene = Compose(rng, level);
    if (IsHeldOut(scene) == (split == Split::kHeldOut)) return scene;
  }
}

}  // namespace llava::training::scenes
