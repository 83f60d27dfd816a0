#include "training/data/picture_context.h"

#include <algorithm>
#include <array>
#include <boost/json/array.hpp>
#include <charconv>
#include <cmath>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "base/status_macros.h"
#include "base/utf8_stream.h"

namespace llava::training {
namespace {

namespace json = boost::json;

// Outside of these powers of ten Python writes an exponent.
constexpr int kLeastPlainPower = -4;
constexpr int kMostPlainPower = 15;

// Boost.JSON may miss the nearest number by one step. What was written with 15 digits or fewer is
// found again by these.
double AsWritten(double value) {
  double nearest = value;
  if (!absl::SimpleAtod(absl::StrFormat("%.15g", value), &nearest)) return value;
  const bool is_neighbour = nearest == std::nextafter(value, nearest);
  return is_neighbour ? nearest : value;
}

absl::Status Wrong(const std::string& place, absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat(place, ": ", what));
}

absl::StatusOr<std::string> BoxNumbers(const json::value* bbox, const std::string& place) {
  const json::array* numbers = bbox == nullptr ? nullptr : bbox->if_array();
  if (numbers == nullptr) return Wrong(place, "instances: bbox: expected a list of numbers");
  std::vector<std::string> texts;
  for (const json::value& number : *numbers) {
    if (number.is_double()) {
      texts.push_back(PythonNumber(AsWritten(number.get_double())));
    } else if (number.is_int64()) {
      texts.push_back(std::to_string(number.get_int64()));
    } else {
      return Wrong(place, "instances: bbox: expected a list of numbers");
    }
  }
  return absl::StrCat("[", absl::StrJoin(texts, ", "), "]");
}

absl::Status ReadCaptions(const json::object& object, const std::string& place,
                          PictureContext* context) {
  const json::value* captions = object.if_contains("captions");
  if (captions == nullptr) captions = object.if_contains("caption");
  if (captions != nullptr && captions->is_string()) {
    context->captions.emplace_back(captions->as_string());
    return absl::OkStatus();
  }
  if (captions == nullptr || !captions->is_array()) {
    return Wrong(place, "captions: expected a list of texts");
  }
  for (const json::value& caption : captions->get_array()) {
    if (!caption.is_string()) return Wrong(place, "captions: expected a list of texts");
    context->captions.emplace_back(caption.as_string());
  }
  return absl::OkStatus();
}

absl::Status ReadBoxes(const json::object& object, const std::string& place,
                       PictureContext* context) {
  const json::value* instances = object.if_contains("instances");
  if (instances == nullptr || instances->is_null()) return absl::OkStatus();
  if (!instances->is_array()) return Wrong(place, "instances: expected a list");
  for (const json::value& instance : instances->get_array()) {
    const json::object* box = instance.if_object();
    const json::value* category = box == nullptr ? nullptr : box->if_contains("category");
    if (category == nullptr || !category->is_string()) {
      return Wrong(place, "instances: category: expected a text");
    }
    ASSIGN_OR_RETURN(std::string numbers, BoxNumbers(box->if_contains("bbox"), place));
    context->boxes.push_back({std::string(category->as_string()), std::move(numbers)});
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<PictureContext> ParsePictureContext(const json::object& object,
                                                   const std::string& place) {
  PictureContext context;
  const json::value* image = object.if_contains("image");
  if (image == nullptr || !image->is_string()) return Wrong(place, "image: expected a text");
  context.image = std::string(image->as_string());
  const json::value* id = object.if_contains("id");
  context.id = id != nullptr && id->is_string() ? std::string(id->as_string()) : context.image;
  RETURN_IF_ERROR(ReadCaptions(object, place, &context));
  RETURN_IF_ERROR(ReadBoxes(object, place, &context));
  return context;
}

std::string CaptionText(const PictureContext& context) {
  return absl::StrJoin(context.captions, "\n");
}

std::string BoxText(const PictureContext& context) {
  return absl::StrJoin(context.boxes, "\n", [](std::string* out, const ContextBox& box) {
    absl::StrAppend(out, box.category, ": ", box.bbox);
  });
}

std::string PythonNumber(double value) {
  std::array<char, 64> buffer{};
  const auto end = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value,
                                 std::chars_format::scientific)
                       .ptr;
  const std::string_view text(buffer.data(), static_cast<std::size_t>(end - buffer.data()));
  const std::size_t mark = text.find('e');
  int power = 0;
  if (mark == text.npos || !absl::SimpleAtoi(AbslView(text.substr(mark + 1)), &power)) {
    return std::string(text);  // "nan", "inf"
  }
  if (power < kLeastPlainPower || power > kMostPlainPower) return std::string(text);
  const auto digits = static_cast<int>(mark) - (text[0] == '-' ? 1 : 0);
  const int decimals = std::max(1, (digits > 1 ? digits - 2 : 0) - power);
  return absl::StrFormat("%.*f", decimals, value);
}

}  // namespace llava::training
