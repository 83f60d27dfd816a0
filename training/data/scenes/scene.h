// The small world of the demo model: what can stand in a picture, where, and in which words. A
// scene is a value made from a seed; draw.h turns it into pixels and questions.h into text, both
// true of it.
#ifndef LLAVA_TRAINING_DATA_SCENES_SCENE_H_
#define LLAVA_TRAINING_DATA_SCENES_SCENE_H_

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/rng.h"

namespace llava::training::scenes {

// A picture is square, cut into 3 x 3 cells; an object or a digit stands in one cell, a word in a
// row.
inline constexpr int kPictureSize = 96;  // pixels
inline constexpr int kCell = 32;         // pixels
inline constexpr int kCells = 9;         // row-major

inline constexpr std::array<std::string_view, 5> kColours = {"red", "green", "blue", "yellow",
                                                             "purple"};
inline constexpr std::array<std::string_view, 4> kShapes = {"circle", "square", "triangle",
                                                            "cross"};
inline constexpr std::array<std::string_view, 2> kSizes = {"small", "big"};
inline constexpr std::array<std::string_view, kCells> kPlaces = {
    "top left", "top",         "top right", "left",        "middle",
    "right",    "bottom left", "bottom",    "bottom right"};
inline constexpr std::array<std::string_view, 12> kWords = {
    "CAT", "DOG", "SUN", "BUS", "CUP", "HAT", "PEN", "BOX", "KEY", "MAP", "FOX", "OWL"};

struct Object {
  int colour = 0;  // into kColours
  int shape = 0;   // into kShapes
  int size = 0;    // into kSizes
  int cell = 0;    // into kPlaces

  int row() const { return cell / 3; }
  int column() const { return cell % 3; }
  std::string Name() const;       // "red circle"
  std::string SizedName() const;  // "big red circle"
  bool operator==(const Object&) const = default;
};

// A digit in a cell, or a word in the middle of a row of cells.
struct Text {
  std::string value;  // "7", "CAT"
  int cell = 0;

  bool is_digit() const { return value.size() == 1; }
  std::string Name() const;  // "digit 7", "word CAT"
  bool operator==(const Text&) const = default;
};

// What always holds: no cell holds two things, no two objects share both colour and shape, and
// `objects` is in reading order.
struct Scene {
  std::vector<Object> objects;
  std::optional<Text> text;
  std::uint64_t style_seed = 0;  // background, noise, jitter, fonts: nothing that is asked about

  // Names what is in the picture, not how it is drawn: equal for scenes that only differ in style.
  std::string Signature() const;
};

// The curriculum: one thing; one or two things; up to three objects and a text. And pictures to
// look at rather than to talk about: three to eight objects, as many as fit, and a text.
enum class Level { kOne, kFew, kFull, kCrowded };
enum class Split { kTrain, kHeldOut };

// "one", "few", "full", "crowded".
std::optional<Level> ParseLevel(std::string_view name);

// One of eight signatures is held out: no held-out scene, in whatever style, is ever in a training
// set, whatever the seeds.
bool IsHeldOut(const Scene& scene);

// Scene `index` of the set that `seed` names; the same for any count of scenes.
Scene MakeScene(std::uint64_t seed, Split split, Level level, std::int64_t index);

}  // namespace llava::training::scenes

#endif  // LLAVA_TRAINING_DATA_SCENES_SCENE_H_
