// Fields of JSON rows, with errors that name field, value and what was expected.
#ifndef LLAVA_CLIENT_BATCH_ROW_FIELDS_H_
#define LLAVA_CLIENT_BATCH_ROW_FIELDS_H_

#include <boost/json/serialize.hpp>
#include <boost/json/value.hpp>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"

namespace llava::client {

inline constexpr std::size_t kMaxPictureBytes = std::size_t{64} << 20;

// INVALID_ARGUMENT. A long value is cut.
inline absl::Status WrongField(std::string_view name, const boost::json::value& value,
                               std::string_view expected) {
  constexpr std::size_t kShown = 60;
  std::string shown = boost::json::serialize(value);
  if (shown.size() > kShown) shown = absl::StrCat(shown.substr(0, kShown), "...");
  return absl::InvalidArgumentError(
      absl::StrCat("\"", absl::string_view(name.data(), name.size()), "\" is ", shown,
                   ", expected ", absl::string_view(expected.data(), expected.size())));
}

inline absl::StatusOr<std::string> TextOf(std::string_view name, const boost::json::value& value) {
  if (!value.is_string()) return WrongField(name, value, "text");
  return std::string(value.as_string());
}

}  // namespace llava::client

#endif  // LLAVA_CLIENT_BATCH_ROW_FIELDS_H_
