#include "model/checkpoint/safetensors_writer.h"

#include <boost/json.hpp>

#include "base/check.h"
#include "base/status_macros.h"

namespace llava::model {
namespace {

namespace json = boost::json;

constexpr std::size_t kAlignment = 8;

// The length and the JSON, padded so that the data is aligned for every element type.
std::string Header(const std::vector<TensorSpec>& tensors) {
  json::object header;
  header["__metadata__"] = {{"format", "pt"}};  // transformers asks for it
  std::uint64_t at = 0;
  for (const TensorSpec& tensor : tensors) {
    const std::uint64_t end = at + tensor.bytes();
    LLAVA_CHECK(header
                    .emplace(tensor.name, json::object({{"dtype", DTypeName(tensor.dtype)},
                                                        {"shape", json::value_from(tensor.shape)},
                                                        {"data_offsets", {at, end}}}))
                    .second);
    at = end;
  }
  std::string text = json::serialize(header);
  text.append((kAlignment - text.size() % kAlignment) % kAlignment, ' ');
  const std::uint64_t length = text.size();
  return std::string(reinterpret_cast<const char*>(&length), sizeof(length)) + text;
}

}  // namespace

std::uint64_t TensorSpec::bytes() const {
  const auto size = CheckedByteSize(shape, ElementSize(dtype));
  LLAVA_CHECK(size.has_value());
  return *size;
}

absl::StatusOr<SafetensorsWriter> SafetensorsWriter::Create(const std::string& path,
                                                            std::vector<TensorSpec> tensors) {
  ASSIGN_OR_RETURN(OutputFile file, OutputFile::Create(path));
  RETURN_IF_ERROR(file.Write(Header(tensors)));
  return SafetensorsWriter(std::move(file), std::move(tensors));
}

absl::Status SafetensorsWriter::Append(std::string_view bytes) {
  LLAVA_CHECK_LT(next_, tensors_.size());
  LLAVA_CHECK_EQ(bytes.size(), tensors_[next_].bytes());
  ++next_;
  return file_.Write(bytes);
}

absl::Status SafetensorsWriter::Close() {
  LLAVA_CHECK_EQ(next_, tensors_.size());
  return file_.Close();
}

}  // namespace llava::model
