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

// A picture is cut into 3 x 3 cells, by which places are named. In a scene of cells an object or a
// digit stands in the middle of one, a word in a row, and the picture is square; in a free one they
// stand anywhere, and the picture has any shape.
inline constexpr int kPictureSize = 96;  // pixels of a scene of cells, and of every label mask
inline constexpr int kCell = 32;         // pixels
inline constexpr int kCells = 9;         // row-major

// Grey is what everything is in a picture without colours, and nothing in any other.
inline constexpr std::array<std::string_view, 6> kColours = {"red",    "green",  "blue",
                                                             "yellow", "purple", "grey"};
inline constexpr int kGrey = 5;
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
  int cell = 0;    // into kPlaces: where the middle is
  double x = 0.0;  // of the middle, in [0, 1] from the left
  double y = 0.0;  // and from the top
  // Of a free scene: the diameter as a share of the picture's shorter side. In cells 0: drawing
  // chooses.
  double extent = 0.0;

  int row() const { return cell / 3; }
  int column() const { return cell % 3; }
  std::string Name() const;       // "red circle"
  std::string SizedName() const;  // "big red circle"
  bool operator==(const Object&) const = default;
};

// In the middle of a cell.
Object InCell(int colour, int shape, int size, int cell);

// A digit in a cell, or a word in a row of cells.
struct Text {
  std::string value;  // "7", "CAT"
  int cell = 0;       // of a word: the middle one of its row
  double x = 0.0;     // of a free scene, as an object's; `height` is a share of the shorter side
  double y = 0.0;
  double height = 0.0;

  bool is_digit() const { return value.size() == 1; }
  std::string Name() const;  // "digit 7", "word CAT"
  bool operator==(const Text&) const = default;
};

// What always holds: `objects` is in reading order of their cells. In a scene of cells no cell
// holds two things and no two objects share both colour and shape. In a free one things overlap
// lightly at most, no middle of an object lies on a border of cells, and the extents of small and
// big are far apart.
struct Scene {
  std::vector<Object> objects;
  std::optional<Text> text;
  bool is_free = false;
  double aspect = 1.0;           // width over height
  std::uint64_t style_seed = 0;  // background, noise, jitter, fonts: nothing that is asked about

  // Names what is in the picture, not how it is drawn: equal for scenes that only differ in style.
  std::string Signature() const;
};

// The curriculum in cells: one thing; one or two things; up to three objects and a text. And
// pictures to look at rather than to talk about: three to eight objects, as many as fit, and a
// text. Free scenes are full or crowded, too; in the mixed levels every third scene is one of
// cells.
enum class Level {
  kOne,
  kFew,
  kFull,
  kCrowded,
  kFree,
  kFreeCrowded,
  kMixed,
  kMixedCrowded,
};
inline constexpr std::array<std::string_view, 8> kLevels = {
    "one", "few", "full", "crowded", "free", "free_crowded", "mixed", "mixed_crowded"};
enum class Split { kTrain, kHeldOut };

// One of kLevels.
std::optional<Level> ParseLevel(std::string_view name);

// One of eight signatures is held out: no held-out scene, in whatever style, is ever in a training
// set, whatever the seeds.
bool IsHeldOut(const Scene& scene);

// Scene `index` of the set that `seed` names; the same for any count of scenes.
Scene MakeScene(std::uint64_t seed, Split split, Level level, std::int64_t index);

}  // namespace llava::training::scenes

#endif  // LLAVA_TRAINING_DATA_SCENES_SCENE_H_
