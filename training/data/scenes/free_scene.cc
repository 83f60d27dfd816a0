#include "training/data/scenes/free_scene.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <string>
#include <tuple>

#include "training/data/scenes/ground.h"

namespace llava::training::scenes {
namespace {

constexpr double kBorder = 0.03;  // around a border of cells, where no middle of an object lies
constexpr double kLeastDistance = 0.9;  // of two middles, over the sum of the radii
constexpr int kTries = 30;              // to place one thing

// A rectangle around a middle; all in shares of the shorter side.
struct Room {
  double x, y, half_width, half_height;
};

bool Overlap(const Room& a, const Room& b) {
  return std::abs(a.x - b.x) < kLeastDistance * (a.half_width + b.half_width) &&
         std::abs(a.y - b.y) < kLeastDistance * (a.half_height + b.half_height);
}

int CellOf(double x, double y) {
  const auto third = [](double share) { return std::clamp(static_cast<int>(share * 3), 0, 2); };
  return third(y) * 3 + third(x);
}

bool IsNearBorder(double share) {
  return std::abs(share - 1.0 / 3) < kBorder || std::abs(share - 2.0 / 3) < kBorder;
}

// Places things one after another.
class Composer {
 public:
  Composer(Rng& rng, double aspect)
      : rng_(rng), width_(std::max(1.0, aspect)), height_(std::max(1.0, 1 / aspect)) {}

  // Where a thing of these half sides fits; nullopt where no place was found.
  std::optional<Room> Place(double half_width, double half_height) {
    if (2 * half_width > width_ || 2 * half_height > height_) return std::nullopt;
    for (int i = 0; i < kTries; ++i) {
      const Room room{Between(rng_, half_width, width_ - half_width),
                      Between(rng_, half_height, height_ - half_height), half_width, half_height};
      if (IsNearBorder(room.x / width_) || IsNearBorder(room.y / height_)) continue;
      const auto overlaps = [&](const Room& other) { return Overlap(room, other); };
      if (std::any_of(taken_.begin(), taken_.end(), overlaps)) continue;
      taken_.push_back(room);
      return room;
    }
    return std::nullopt;
  }

  double ShareX(const Room& room) const { return room.x / width_; }
  double ShareY(const Room& room) const { return room.y / height_; }

 private:
  Rng& rng_;
  const double width_, height_;  // of the picture, over its shorter side
  std::vector<Room> taken_;
};

std::optional<Text> MakeText(Rng& rng, Composer* composer) {
  Text text;
  const bool digit = rng.Chance(0.5);
  text.value =
      digit ? std::to_string(rng.Below(10)) : std::string(kWords[rng.Below(kWords.size())]);
  text.height = digit ? Between(rng, 0.14, 0.32) : Between(rng, 0.14, 0.26);
  const double width = text.height * (digit ? 0.8 : 2.8);
  const std::optional<Room> room = composer->Place(width / 2, text.height / 2);
  if (!room) return std::nullopt;
  text.x = composer->ShareX(*room);
  text.y = composer->ShareY(*room);
  text.cell = CellOf(digit ? text.x : 0.5, text.y);
  return text;
}

std::optional<Object> MakeObject(Rng& rng, bool grey, bool crowded, Composer* composer) {
  Object object;
  object.colour = grey ? kGrey : static_cast<int>(rng.Below(kGrey));
  object.shape = static_cast<int>(rng.Below(kShapes.size()));
  object.size = static_cast<int>(rng.Below(kSizes.size()));
  const double most = crowded ? 0.4 : 0.66;
  const double share = rng.Uniform();
  object.extent = object.size == 0 ? Between(rng, 0.1, 0.19) : 0.23 + (most - 0.23) * share * share;
  const std::optional<Room> room = composer->Place(object.extent / 2, object.extent / 2);
  if (!room) return std::nullopt;
  object.x = composer->ShareX(*room);
  object.y = composer->ShareY(*room);
  object.cell = CellOf(object.x, object.y);
  return object;
}

}  // namespace

Scene ComposeFree(Rng& rng, bool crowded) {
  Scene scene;
  scene.is_free = true;
  scene.aspect = rng.Chance(0.3) ? 1.0 : std::exp2(Between(rng, -0.8, 0.8));
  Composer composer(rng, scene.aspect);
  const bool grey = rng.Chance(0.08);
  const int wanted = 1 + static_cast<int>(rng.Below(crowded ? 7 : 3));
  // The text comes first: it needs the most room.
  if (rng.Chance(crowded ? 0.8 : 0.35)) scene.text = MakeText(rng, &composer);
  for (int i = 0; i < wanted; ++i) {
    const std::optional<Object> object = MakeObject(rng, grey, crowded, &composer);
    if (!object) continue;
    // Two of a kind are rarer than chance has it, so that most things can be asked about.
    const bool twin =
        std::any_of(scene.objects.begin(), scene.objects.end(),
                    [&](const Object& other) { return other.Name() == object->Name(); });
    if (!twin || rng.Chance(0.3)) scene.objects.push_back(*object);
  }
  std::sort(scene.objects.begin(), scene.objects.end(), [](const Object& a, const Object& b) {
    return std::tie(a.cell, a.x, a.y) < std::tie(b.cell, b.x, b.y);
  });
  scene.style_seed = rng.Next();
  return scene;
}

}  // namespace llava::training::scenes
