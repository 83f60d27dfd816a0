#include "training/generate/sources.h"

#include <algorithm>
#include <array>
#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/value.hpp>
#include <filesystem>
#include <map>
#include <system_error>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "base/durable_file.h"
#include "base/file.h"
#include "base/json_reader.h"
#include "base/status_macros.h"
#include "training/data/json_lines.h"
#include "training/data/scenes/write.h"

namespace llava::training {
namespace {

namespace fs = std::filesystem;
namespace json = boost::json;

constexpr std::size_t kMaxFileBytes = std::size_t{4} << 30;
constexpr std::size_t kMaxDepth = 32;
constexpr std::size_t kMaxNoteBytes = 1 << 10;

absl::Status Wrong(const std::string& file, absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat(file, ": ", what));
}

absl::StatusOr<json::object> ReadObject(const std::string& file) {
  ASSIGN_OR_RETURN(const std::string text, ReadFile(file, kMaxFileBytes));
  auto value = ParseJson(text, kMaxDepth);
  if (!value.ok()) return Annotate(value.status(), file);
  if (!value->is_object()) return Wrong(file, "expected an object");
  return std::move(value->as_object());
}

absl::StatusOr<std::vector<PictureContext>> ReadContexts(const std::string& file) {
  ASSIGN_OR_RETURN(const std::vector<json::object> lines, ReadJsonLines(file, kMaxFileBytes));
  std::vector<PictureContext> contexts;
  for (const json::object& line : lines) {
    ASSIGN_OR_RETURN(PictureContext context, ParsePictureContext(line, file));
    contexts.push_back(std::move(context));
  }
  return contexts;
}

// Draws them beside `folder` and names it when all are there: a part of them would be taken for
// all.
absl::Status DrawOnce(const GenerateSource& source, const std::string& output,
                      const std::string& folder) {
  const std::string drawn =
      absl::StrCat("count ", source.scenes, " seed ", source.scenes_seed, "\n");
  const std::string note = folder + "/drawn.txt";
  if (IsThere(folder)) {
    const auto before = ReadFile(note, kMaxNoteBytes);
    if (before.ok() && *before == drawn) return absl::OkStatus();
    // A run that was begun before there was such a note goes on.
    if (absl::IsNotFound(before.status()) && IsThere(output + "/plan.identity")) {
      return absl::OkStatus();
    }
    return absl::FailedPreconditionError(
        absl::StrCat(folder, ": has other scenes, expected ", absl::StripAsciiWhitespace(drawn),
                     " as drawn.txt there; choose another output, or remove the folder"));
  }
  const std::string part = folder + ".new";
  std::error_code error;
  fs::remove_all(part, error);
  scenes::WriteOptions options;
  options.count = source.scenes;
  options.seed = static_cast<std::uint64_t>(source.scenes_seed);
  RETURN_IF_ERROR(scenes::WriteScenes(options, part));
  RETURN_IF_ERROR(WriteFile(part + "/drawn.txt", drawn));
  return RenameFile(part, folder);
}

// As the scenes' own file has it: objects with colour, shape, size and box; a text.
absl::StatusOr<std::vector<PictureContext>> DrawScenes(const GenerateSource& source,
                                                       const std::string& output) {
  const std::string folder = absl::StrCat(output, "/scenes");
  RETURN_IF_ERROR(DrawOnce(source, output, folder));
  const std::string file = folder + "/scenes.jsonl";
  ASSIGN_OR_RETURN(std::vector<json::object> lines, ReadJsonLines(file, kMaxFileBytes));
  std::vector<PictureContext> contexts;
  for (json::object& line : lines) {
    json::array instances;
    for (const json::value& value : line.at("objects").as_array()) {
      const json::object& object = value.as_object();
      const auto word = [&](const char* key) { return std::string(object.at(key).as_string()); };
      instances.push_back(json::object{
          {"category", absl::StrCat(word("size"), " ", word("colour"), " ", word("shape"))},
          {"bbox", object.at("box")}});
    }
    if (const json::value* text = line.if_contains("text")) {
      const json::object& object = text->as_object();
      instances.push_back(json::object{
          {"category", absl::StrCat("text ", std::string(object.at("value").as_string()))},
          {"bbox", object.at("box")}});
    }
    line["instances"] = std::move(instances);
    ASSIGN_OR_RETURN(PictureContext context, ParsePictureContext(line, file));
    contexts.push_back(std::move(context));
  }
  return contexts;
}

bool IsPicture(const fs::path& path) {
  constexpr std::array<absl::string_view, 6> kEndings = {".jpg", ".jpeg", ".png",
                                                         ".gif", ".webp", ".bmp"};
  const std::string ending = absl::AsciiStrToLower(path.extension().string());
  return std::find(kEndings.begin(), kEndings.end(), ending) != kEndings.end();
}

absl::StatusOr<std::vector<PictureContext>> ListPictures(const std::string& folder) {
  std::vector<PictureContext> pictures;
  std::error_code error;
  for (fs::recursive_directory_iterator at(folder, error), end; !error && at != end;
       at.increment(error)) {
    std::error_code ignored;  // then it is no file that could be read
    if (!at->is_regular_file(ignored) || !IsPicture(at->path())) continue;
    const std::string name = at->path().lexically_relative(folder).string();
    pictures.push_back({name, name, {}, {}});
  }
  if (error) return absl::ErrnoToStatus(error.value(), folder);
  if (pictures.empty()) {
    return Wrong(folder, "has no picture, expected files .jpg, .png, .gif, .webp or .bmp");
  }
  std::sort(pictures.begin(), pictures.end(),
            [](const auto& a, const auto& b) { return a.image < b.image; });
  return pictures;
}

struct CocoPicture {
  PictureContext context;
  double width = 0;
  double height = 0;
};

// The elements of the list at `key` that are objects.
absl::StatusOr<std::vector<const json::object*>> ListAt(const json::object& file_content,
                                                        const char* key, const std::string& file) {
  const json::value* list = file_content.if_contains(key);
  if (list == nullptr || !list->is_array())
    return Wrong(file, absl::StrCat(key, ": expected a list"));
  std::vector<const json::object*> objects;
  for (const json::value& element : list->get_array()) {
    if (!element.is_object()) return Wrong(file, absl::StrCat(key, ": expected objects"));
    objects.push_back(&element.get_object());
  }
  return objects;
}

// A number, or -1.
double NumberAt(const json::object& object, const char* key) {
  const json::value* value = object.if_contains(key);
  return value != nullptr && value->is_number() ? value->to_number<double>() : -1;
}

std::int64_t IdAt(const json::object& object, const char* key) {
  return static_cast<std::int64_t>(NumberAt(object, key));
}

std::string TextAt(const json::object& object, const char* key) {
  const json::value* value = object.if_contains(key);
  return value != nullptr && value->is_string() ? std::string(value->as_string()) : "";
}

// Shares of the picture with three decimals, as Python prints them.
absl::StatusOr<std::string> BoxOf(const json::object& annotation, const CocoPicture& picture,
                                  const std::string& file) {
  const json::value* bbox = annotation.if_contains("bbox");
  const json::array* box = bbox == nullptr ? nullptr : bbox->if_array();
  if (box == nullptr || box->size() != 4) return Wrong(file, "bbox: expected x, y, width, height");
  std::array<double, 4> values{};
  for (std::size_t i = 0; i < 4; ++i) {
    if (!box->at(i).is_number()) return Wrong(file, "bbox: expected numbers");
    values[i] = box->at(i).to_number<double>();
  }
  if (picture.width <= 0 || picture.height <= 0) return Wrong(file, "images: expected their sizes");
  const std::array<double, 4> shares = {values[0] / picture.width, values[1] / picture.height,
                                        (values[0] + values[2]) / picture.width,
                                        (values[1] + values[3]) / picture.height};
  std::vector<std::string> texts;
  for (const double share : shares) {
    double rounded = 0;
    if (!absl::SimpleAtod(absl::StrFormat("%.3f", share), &rounded)) return Wrong(file, "bbox");
    texts.push_back(PythonNumber(rounded));
  }
  return absl::StrCat("[", absl::StrJoin(texts, ", "), "]");
}

using CocoPictures = std::map<std::int64_t, CocoPicture>;

absl::Status AddCaptions(const std::string& file, CocoPictures* pictures) {
  ASSIGN_OR_RETURN(const json::object content, ReadObject(file));
  ASSIGN_OR_RETURN(const auto images, ListAt(content, "images", file));
  for (const json::object* image : images) {
    CocoPicture& picture = (*pictures)[IdAt(*image, "id")];
    picture.context.image = TextAt(*image, "file_name");
    picture.context.id = absl::StrFormat("%012d", IdAt(*image, "id"));
    picture.width = NumberAt(*image, "width");
    picture.height = NumberAt(*image, "height");
  }
  ASSIGN_OR_RETURN(const auto annotations, ListAt(content, "annotations", file));
  for (const json::object* annotation : annotations) {
    const auto found = pictures->find(IdAt(*annotation, "image_id"));
    if (found == pictures->end()) return Wrong(file, "annotations: a caption of no picture");
    found->second.context.captions.emplace_back(
        absl::StripAsciiWhitespace(TextAt(*annotation, "caption")));
  }
  return absl::OkStatus();
}

absl::Status AddBoxes(const std::string& file, CocoPictures* pictures) {
  ASSIGN_OR_RETURN(const json::object content, ReadObject(file));
  std::map<std::int64_t, std::string> categories;
  ASSIGN_OR_RETURN(const auto names, ListAt(content, "categories", file));
  for (const json::object* name : names) categories[IdAt(*name, "id")] = TextAt(*name, "name");
  ASSIGN_OR_RETURN(const auto annotations, ListAt(content, "annotations", file));
  for (const json::object* annotation : annotations) {
    const auto found = pictures->find(IdAt(*annotation, "image_id"));
    if (found == pictures->end()) continue;  // without captions
    ASSIGN_OR_RETURN(std::string box, BoxOf(*annotation, found->second, file));
    found->second.context.boxes.push_back(
        {categories[IdAt(*annotation, "category_id")], std::move(box)});
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::vector<PictureContext>> ReadSource(const GenerateSource& source,
                                                       const std::string& output) {
  if (!source.contexts.empty()) return ReadContexts(source.contexts);
  if (source.scenes > 0) return DrawScenes(source, output);
  if (!source.pictures.empty()) return ListPictures(source.pictures);
  CocoPictures pictures;
  RETURN_IF_ERROR(AddCaptions(source.captions, &pictures));
  RETURN_IF_ERROR(AddBoxes(source.instances, &pictures));
  std::vector<PictureContext> contexts;
  for (auto& [id, picture] : pictures) {
    if (!picture.context.captions.empty()) contexts.push_back(std::move(picture.context));
  }
  return contexts;
}

}  // namespace llava::training
