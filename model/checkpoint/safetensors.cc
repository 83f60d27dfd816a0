#include "model/checkpoint/safetensors.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "model/checkpoint/safetensors_header.h"

namespace llava::model {
namespace {

constexpr std::size_t kLengthBytes = 8;

// What the bytes `first` say, with which `file` begins; the others are not looked at.
absl::StatusOr<std::size_t> HeaderLength(std::string_view file, const char* first) {
  std::uint64_t length = 0;
  std::memcpy(&length, first, kLengthBytes);
  if (length > kMaxSafetensorsHeaderBytes) {
    return absl::InvalidArgumentError(absl::StrCat("the header's length is ", length,
                                                   " bytes, at most ", kMaxSafetensorsHeaderBytes,
                                                   " are allowed"));
  }
  if (length > file.size() - kLengthBytes) {
    return absl::DataLossError(absl::StrCat("the header's length is ", length,
                                            " bytes but the file has only ",
                                            file.size() - kLengthBytes, " bytes after it"));
  }
  return length;
}

absl::Status CheckHasLength(std::string_view file) {
  if (file.size() >= kLengthBytes) return absl::OkStatus();
  return absl::DataLossError(
      absl::StrCat("the file has ", file.size(), " bytes, a safetensors file has at least 8"));
}

absl::Status CheckLength(const HeaderEntry& entry) {
  if (entry.begin > entry.end) {
    return absl::InvalidArgumentError(absl::StrCat("tensor \"", entry.name, "\": data_offsets [",
                                                   entry.begin, ", ", entry.end,
                                                   "] end before they begin"));
  }
  const auto expected = CheckedByteSize(entry.shape, ElementSize(entry.dtype));
  if (!expected.has_value()) {
    return absl::InvalidArgumentError(absl::StrCat("tensor \"", entry.name, "\": the shape ",
                                                   ShapeText(entry.shape), " is too large"));
  }
  if (*expected != entry.end - entry.begin) {
    return absl::InvalidArgumentError(
        absl::StrCat("tensor \"", entry.name, "\": data_offsets [", entry.begin, ", ", entry.end,
                     "] hold ", entry.end - entry.begin, " bytes, expected ", *expected, " for ",
                     DTypeName(entry.dtype), " ", ShapeText(entry.shape)));
  }
  return absl::OkStatus();
}

// The tensors must tile the data: sorted by offset, each begins where the one before ended.
absl::Status CheckLayout(std::vector<HeaderEntry>& entries, std::uint64_t data_size) {
  std::sort(entries.begin(), entries.end(), [](const HeaderEntry& a, const HeaderEntry& b) {
    return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
  });
  std::uint64_t at = 0;
  for (const HeaderEntry& entry : entries) {
    if (entry.begin != at) {
      return absl::InvalidArgumentError(absl::StrCat(
          "tensor \"", entry.name, "\": data_offsets begin at ", entry.begin,
          entry.begin < at ? ", inside the tensor before it, expected " : " after a gap, expected ",
          at));
    }
    at = entry.end;
  }
  if (at != data_size) {
    return absl::DataLossError(absl::StrCat("the header describes ", at,
                                            " bytes of data but the file holds ", data_size,
                                            at > data_size ? " (truncated?)" : ""));
  }
  return absl::OkStatus();
}

// `header`: the JSON; `data`: what comes after it, which is not looked at.
absl::StatusOr<TensorMap> Tensors(std::string_view header, std::string_view data) {
  ASSIGN_OR_RETURN(std::vector<HeaderEntry> entries, ParseSafetensorsHeader(header));
  for (const HeaderEntry& entry : entries) RETURN_IF_ERROR(CheckLength(entry));
  RETURN_IF_ERROR(CheckLayout(entries, data.size()));
  TensorMap tensors;
  for (HeaderEntry& entry : entries) {
    StoredTensor tensor{.dtype = entry.dtype,
                        .shape = std::move(entry.shape),
                        .strides = {},
                        .bytes = data.substr(entry.begin, entry.end - entry.begin)};
    if (!tensors.emplace(entry.name, std::move(tensor)).second) {
      return absl::InvalidArgumentError(
          absl::StrCat("tensor \"", entry.name, "\" is named twice in the header"));
    }
  }
  return tensors;
}

}  // namespace

absl::StatusOr<TensorMap> ParseSafetensors(std::string_view file) {
  RETURN_IF_ERROR(CheckHasLength(file));
  ASSIGN_OR_RETURN(const std::size_t length, HeaderLength(file, file.data()));
  return Tensors(file.substr(kLengthBytes, length), file.substr(kLengthBytes + length));
}

absl::StatusOr<TensorMap> ReadSafetensors(const MappedFile& file) {
  const std::string_view bytes = file.bytes();
  RETURN_IF_ERROR(CheckHasLength(bytes));
  char first[kLengthBytes];
  RETURN_IF_ERROR(file.Read(bytes.substr(0, kLengthBytes), first));
  ASSIGN_OR_RETURN(const std::size_t length, HeaderLength(bytes, first));
  std::string header(length, '\0');
  RETURN_IF_ERROR(file.Read(bytes.substr(kLengthBytes, length), header.data()));
  return Tensors(header, bytes.substr(kLengthBytes + length));
}

}  // namespace llava::model
