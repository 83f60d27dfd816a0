#include "training/data/dense_labels.h"

#include <fstream>
#include <sstream>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "boost/json.hpp"

namespace llava::training {
namespace {

namespace json = boost::json;

constexpr char kHeaderFile[] = "/patches.json";
constexpr char kLabelsFile[] = "/patches.u8";

absl::StatusOr<std::string> ReadWhole(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return absl::NotFoundError(absl::StrCat(path, ": cannot be opened"));
  std::ostringstream bytes;
  bytes << file.rdbuf();
  return std::move(bytes).str();
}

absl::Status WriteWhole(const std::string& path, std::string_view bytes) {
  std::ofstream file(path, std::ios::binary);
  file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  file.close();
  if (!file) return absl::ResourceExhaustedError(absl::StrCat(path, ": cannot be written"));
  return absl::OkStatus();
}

absl::Status CheckLabels(const DenseLabels& labels) {
  if (labels.planes.empty() || labels.rows <= 0 || labels.columns <= 0 || labels.patch <= 0) {
    return absl::InvalidArgumentError("patch, rows, columns and planes must not be 0");
  }
  const std::size_t expected = labels.Offset(labels.images.size(), 0);
  if (labels.labels.size() != expected) {
    return absl::InvalidArgumentError(absl::StrCat("has ", labels.labels.size(),
                                                   " labels, expected ", expected, " for ",
                                                   labels.images.size(), " pictures"));
  }
  const auto plane_size = static_cast<std::size_t>(labels.rows * labels.columns);
  for (std::size_t i = 0; i < labels.labels.size(); ++i) {
    const LabelPlane& plane = labels.planes[i / plane_size % labels.planes.size()];
    if (labels.labels[i] >= plane.classes.size()) {
      return absl::InvalidArgumentError(
          absl::StrCat("label ", int{labels.labels[i]}, " of picture ",
                       labels.images[i / plane_size / labels.planes.size()], " is none of the ",
                       plane.classes.size(), " classes of plane '", plane.name, "'"));
    }
  }
  return absl::OkStatus();
}

DenseLabels ParseHeader(const std::string& text) {
  const json::value header = json::parse(text);
  DenseLabels labels;
  labels.patch = json::value_to<int>(header.at("patch"));
  labels.rows = json::value_to<int>(header.at("rows"));
  labels.columns = json::value_to<int>(header.at("columns"));
  for (const json::value& plane : header.at("planes").as_array()) {
    labels.planes.push_back({json::value_to<std::string>(plane.at("name")),
                             json::value_to<std::vector<std::string>>(plane.at("classes"))});
  }
  labels.images = json::value_to<std::vector<std::string>>(header.at("images"));
  return labels;
}

}  // namespace

absl::StatusOr<DenseLabels> ReadDenseLabels(const std::string& folder) {
  ASSIGN_OR_RETURN(const std::string header, ReadWhole(folder + kHeaderFile));
  ASSIGN_OR_RETURN(const std::string bytes, ReadWhole(folder + kLabelsFile));
  DenseLabels labels;
  try {
    labels = ParseHeader(header);
  } catch (const std::exception& error) {
    return absl::InvalidArgumentError(absl::StrCat(folder, kHeaderFile, ": ", error.what()));
  }
  labels.labels.assign(bytes.begin(), bytes.end());
  RETURN_IF_ERROR(Annotate(CheckLabels(labels), folder + kLabelsFile));
  return labels;
}

absl::Status WriteDenseLabels(const DenseLabels& labels, const std::string& folder) {
  RETURN_IF_ERROR(CheckLabels(labels));
  json::array planes;
  for (const LabelPlane& plane : labels.planes) {
    planes.push_back({{"name", plane.name}, {"classes", json::value_from(plane.classes)}});
  }
  const json::value header = {{"patch", labels.patch},
                              {"rows", labels.rows},
                              {"columns", labels.columns},
                              {"planes", planes},
                              {"images", json::value_from(labels.images)}};
  RETURN_IF_ERROR(WriteWhole(folder + kHeaderFile, json::serialize(header)));
  return WriteWhole(
      folder + kLabelsFile,
      std::string_view(reinterpret_cast<const char*>(labels.labels.data()), labels.labels.size()));
}

}  // namespace llava::training
