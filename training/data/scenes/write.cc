#include "training/data/scenes/write.h"

#include <cmath>
#include <filesystem>
#include <fstream>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/status_macros.h"
#include "boost/json.hpp"
#include "model/image/encode.h"
#include "training/data/dense_labels.h"
#include "training/data/scenes/conversation.h"
#include "training/data/scenes/draw.h"
#include "training/data/scenes/patch_labels.h"
#include "training/data/scenes/questions.h"

namespace llava::training::scenes {
namespace {

namespace json = boost::json;

// Of JPEG, in percent.
constexpr int kLowestQuality = 75;
constexpr int kHighestQuality = 98;

// Of the conversations.
constexpr double kTwoPictures = 0.3;
constexpr std::uint64_t kSecondSet = 0x2d5ecu;

std::string Name(std::string_view name) { return std::string(name); }

json::array ToJson(const Box& box) {
  json::array array;
  for (const double value : box) array.push_back(std::round(value * 1000) / 1000);
  return array;
}

json::object SceneJson(const Scene& scene, const Picture& picture, const std::string& image) {
  json::array objects;
  for (std::size_t i = 0; i < scene.objects.size(); ++i) {
    const Object& object = scene.objects[i];
    objects.push_back({{"colour", Name(kColours[static_cast<std::size_t>(object.colour)])},
                       {"shape", Name(kShapes[static_cast<std::size_t>(object.shape)])},
                       {"size", Name(kSizes[static_cast<std::size_t>(object.size)])},
                       {"place", Name(kPlaces[static_cast<std::size_t>(object.cell)])},
                       {"box", ToJson(picture.boxes[i])}});
  }
  json::object result = {{"image", image}, {"objects", objects}, {"captions", {Caption(scene)}}};
  if (scene.text) {
    result["text"] = {{"value", scene.text->value},
                      {"place", Name(kPlaces[static_cast<std::size_t>(scene.text->cell)])},
                      {"box", ToJson(picture.boxes.back())}};
  }
  return result;
}

json::object Turn(const char* from, std::string value) {
  return {{"from", from}, {"value", std::move(value)}};
}

json::object InstructRow(const std::string& id, const std::string& image,
                         const std::vector<Question>& questions) {
  json::array turns, kinds;
  for (const Question& question : questions) {
    turns.push_back(Turn("human", (turns.empty() ? "<image>\n" : "") + question.text));
    turns.push_back(Turn("gpt", question.answer));
    kinds.push_back(json::value(question.kind));
  }
  return {{"id", id}, {"image", image}, {"conversations", turns}, {"kinds", kinds}};
}

json::object ConversationRow(const std::string& id, const std::vector<std::string>& images,
                             const std::vector<SpokenTurn>& spoken) {
  json::array turns, kinds, paths;
  for (const SpokenTurn& turn : spoken) {
    std::string marks;
    for (int i = 0; i < turn.pictures; ++i) marks += "<image>\n";
    turns.push_back(Turn("human", marks + turn.question.text));
    json::object answer = Turn("gpt", turn.question.answer);
    if (turn.is_wrong) answer["weight"] = 0;
    turns.push_back(std::move(answer));
    kinds.push_back(json::value(turn.question.kind));
  }
  for (const std::string& image : images) paths.push_back(json::value(image));
  return {{"id", id}, {"image", paths}, {"conversations", turns}, {"kinds", kinds}};
}

json::object CaptionRow(const std::string& id, const std::string& image, const Scene& scene) {
  return {{"id", id},
          {"image", image},
          {"conversations",
           {Turn("human", "Describe the picture.\n<image>"), Turn("gpt", Caption(scene))}}};
}

DenseLabels EmptyLabels(int patch) {
  DenseLabels labels;
  labels.patch = patch;
  labels.rows = labels.columns = kPictureSize / patch;
  labels.planes = PatchPlanes();
  return labels;
}

class Writer {
 public:
  Writer(const WriteOptions& options, const std::string& folder)
      : options_(options), folder_(folder), labels_(EmptyLabels(options.patch)) {
    std::error_code ignored;  // shows when the files cannot be opened
    std::filesystem::create_directories(folder + "/images", ignored);
    instruct_.open(folder + "/instruct.jsonl");
    captions_.open(folder + "/captions.jsonl");
    scenes_.open(folder + "/scenes.jsonl");
    corpus_.open(folder + "/corpus.txt");
  }

  absl::Status Add(std::int64_t index) {
    const Scene scene = MakeScene(options_.seed, options_.split, options_.level, index);
    const std::string id = absl::StrFormat("%06d", index);
    const std::string image = id + ".jpg";
    Rng rng(scene.style_seed ^ 0x5157u);
    ASSIGN_OR_RETURN(const Picture picture, DrawTo(image, scene, rng));
    captions_ << CaptionRow(id, image, scene) << "\n";
    scenes_ << SceneJson(scene, picture, image) << "\n";
    AddLabels(picture, image);
    corpus_ << Caption(scene) << "\n";
    if (options_.conversations) return AddConversation(index, scene, rng);
    std::vector<Question> questions = SomeQuestions(scene, options_.turns, rng);
    for (Question& comparison : Comparisons(scene, options_.comparisons, rng)) {
      questions.push_back(std::move(comparison));
    }
    instruct_ << InstructRow(id, image, questions) << "\n";
    for (const Question& question : questions) AddToCorpus(question);
    return absl::OkStatus();
  }

  absl::Status Finish() {
    for (std::ofstream* file : {&instruct_, &captions_, &scenes_, &corpus_}) {
      file->close();
      if (!*file) {
        return absl::ResourceExhaustedError(absl::StrCat(folder_, ": a file cannot be written"));
      }
    }
    return WriteDenseLabels(labels_, folder_);
  }

 private:
  absl::StatusOr<Picture> DrawTo(const std::string& image, const Scene& scene, Rng& rng) const {
    Picture picture = Draw(scene);
    const auto quality = static_cast<int>(rng.Between(kLowestQuality, kHighestQuality));
    RETURN_IF_ERROR(WritePicture(picture, quality, image));
    return picture;
  }

  // The second picture of some is a scene of a set of its own.
  absl::Status AddConversation(std::int64_t index, const Scene& scene, Rng& rng) {
    const std::string id = absl::StrFormat("%06d", index);
    std::vector<Scene> scenes = {scene};
    std::vector<std::string> images = {id + ".jpg"};
    if (rng.Chance(kTwoPictures)) {
      scenes.push_back(
          MakeScene(options_.seed ^ kSecondSet, options_.split, options_.level, index));
      images.push_back(id + "-second.jpg");
      RETURN_IF_ERROR(DrawTo(images[1], scenes[1], rng).status());
    }
    const std::vector<SpokenTurn> spoken = MakeConversation(scenes, options_.turns, rng);
    instruct_ << ConversationRow(id, images, spoken) << "\n";
    for (const SpokenTurn& turn : spoken) AddToCorpus(turn.question);
    return absl::OkStatus();
  }

  void AddToCorpus(const Question& question) {
    corpus_ << question.text << "\n" << question.answer << "\n";
  }

  absl::Status WritePicture(const Picture& picture, int quality, const std::string& image) const {
    const std::string path = absl::StrCat(folder_, "/images/", image);
    model::RgbImage rgb{picture.width, picture.height, picture.bgr};
    for (std::size_t i = 0; i < rgb.pixels.size(); i += 3) {
      std::swap(rgb.pixels[i], rgb.pixels[i + 2]);
    }
    ASSIGN_OR_RETURN(const std::string jpeg, model::EncodeJpeg(rgb, quality));
    std::ofstream file(path, std::ios::binary);
    file << jpeg;
    file.close();
    if (file) return absl::OkStatus();
    return absl::UnavailableError(absl::StrCat(path, ": cannot be written"));
  }

  void AddLabels(const Picture& picture, const std::string& image) {
    labels_.images.push_back(image);
    const std::vector<std::uint8_t> patches = LabelPatches(picture, options_.patch);
    labels_.labels.insert(labels_.labels.end(), patches.begin(), patches.end());
  }

  const WriteOptions& options_;
  const std::string& folder_;
  DenseLabels labels_;
  std::ofstream instruct_, captions_, scenes_, corpus_;
};

}  // namespace

absl::Status WriteScenes(const WriteOptions& options, const std::string& folder) {
  if (options.count < 1 || options.count > 1000000) {
    return absl::InvalidArgumentError(
        absl::StrCat("count is ", options.count, ", expected 1 to 1000000"));
  }
  if (options.turns < 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("turns is ", options.turns, ", expected 1 or more"));
  }
  if (options.conversations && options.turns < 2) {
    return absl::InvalidArgumentError(
        absl::StrCat("turns is ", options.turns, ", expected 2 or more of a conversation"));
  }
  if (options.comparisons < 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("comparisons is ", options.comparisons, ", expected 0 or more"));
  }
  if (options.patch < 1 || kPictureSize % options.patch != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("patch is ", options.patch, ", expected a divisor of ", kPictureSize));
  }
  Writer writer(options, folder);
  for (std::int64_t index = 0; index < options.count; ++index) RETURN_IF_ERROR(writer.Add(index));
  return writer.Finish();
}

}  // namespace llava::training::scenes
