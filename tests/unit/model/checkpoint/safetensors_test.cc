#include "model/checkpoint/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>

#include "tests/support/temp_dir.h"

namespace llava::model {
namespace {

using testing::HasSubstr;

std::string File(const std::string& header, std::size_t data_bytes) {
  std::string file(8, '\0');
  const std::uint64_t length = header.size();
  std::memcpy(file.data(), &length, 8);
  file += header;
  for (std::size_t i = 0; i < data_bytes; ++i) file += static_cast<char>(i);
  return file;
}

void ExpectError(const std::string& file, absl::StatusCode code, const std::string& message) {
  const auto tensors = ParseSafetensors(file);
  EXPECT_EQ(tensors.status().code(), code) << tensors.status();
  EXPECT_THAT(std::string(tensors.status().message()), HasSubstr(message));
}

void ExpectInvalid(const std::string& header, std::size_t data_bytes, const std::string& message) {
  ExpectError(File(header, data_bytes), absl::StatusCode::kInvalidArgument, message);
}

TEST(SafetensorsTest, ReadsNamesShapesAndBytes) {
  const std::string file = File(R"({"__metadata__":{"format":"pt"},)"
                                R"("b":{"dtype":"F32","shape":[2],"data_offsets":[2,10]},)"
                                R"("aé\n":{"dtype":"BF16","shape":[1,1],"data_offsets":[0,2]},)"
                                R"("empty":{"dtype":"I64","shape":[0,7],"data_offsets":[10,10]},)"
                                R"("scalar":{"dtype":"U8","shape":[],"data_offsets":[10,11]}}   )",
                                11);
  const auto tensors = ParseSafetensors(file);
  ASSERT_TRUE(tensors.ok()) << tensors.status();
  ASSERT_EQ(tensors->size(), 4u);
  const StoredTensor& a = tensors->at("a\xc3\xa9\n");
  EXPECT_EQ(a.dtype, DType::kBfloat16);
  EXPECT_EQ(a.shape, (std::vector<std::int64_t>{1, 1}));
  EXPECT_EQ(a.bytes, std::string("\0\1", 2));
  EXPECT_EQ(tensors->at("b").bytes.size(), 8u);
  EXPECT_EQ(tensors->at("b").bytes[0], 2);
  EXPECT_TRUE(tensors->at("empty").bytes.empty());
  EXPECT_EQ(tensors->at("scalar").bytes.size(), 1u);
}

TEST(SafetensorsTest, ReadsAFileWithoutTensors) {
  EXPECT_TRUE(ParseSafetensors(File("{}", 0))->empty());
}

TEST(SafetensorsTest, RefusesAFileThatIsTooShort) {
  ExpectError("", absl::StatusCode::kDataLoss, "has 0 bytes");
  ExpectError("\x02\0\0", absl::StatusCode::kDataLoss, "at least 8");
}

TEST(SafetensorsTest, RefusesAHeaderLengthBeyondTheFile) {
  std::string file = File("{}", 0);
  file[0] = 3;
  ExpectError(file, absl::StatusCode::kDataLoss,
              "header's length is 3 bytes but the file has only 2");
  std::memset(file.data(), 0xff, 8);
  ExpectError(file, absl::StatusCode::kInvalidArgument, "18446744073709551615");
}

TEST(SafetensorsTest, RefusesATruncatedFile) {
  const std::string header = R"({"w":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}})";
  EXPECT_TRUE(ParseSafetensors(File(header, 16)).ok());
  ExpectError(File(header, 15), absl::StatusCode::kDataLoss,
              "describes 16 bytes of data but the file holds 15 (truncated?)");
  ExpectError(File(header, 17), absl::StatusCode::kDataLoss, "but the file holds 17");
}

// Whoever looked at the mapping would die of SIGBUS.
TEST(SafetensorsTest, AFileThatIsCutWhileItIsReadIsRefused) {
  const test::TempDir dir;
  const std::string path = dir.path() + "/model.safetensors";
  const std::string header = R"({"w":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}})";
  std::ofstream(path, std::ios::binary) << File(header, 16);
  const auto file = MappedFile::Open(path);
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ(ReadSafetensors(**file)->at("w").bytes.size(), 16u);
  for (const std::uintmax_t size : {8 + header.size() / 2, std::size_t{4}, std::size_t{0}}) {
    std::filesystem::resize_file(path, size);
    const absl::Status cut = ReadSafetensors(**file).status();
    EXPECT_EQ(cut.code(), absl::StatusCode::kDataLoss) << cut;
    EXPECT_THAT(std::string(cut.message()), HasSubstr("was cut while it was read"));
  }
}

TEST(SafetensorsTest, RefusesLiesAboutOffsets) {
  ExpectInvalid(R"({"w":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}})", 4,
                "tensor \"w\": data_offsets [4, 0] end before they begin");
  ExpectInvalid(R"({"w":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}})", 4,
                "tensor \"w\": data_offsets [0, 4] hold 4 bytes, expected 8 for F32 [2]");
  ExpectInvalid(R"({"w":{"dtype":"U8","shape":[4],"data_offsets":[4,8]}})", 8, "after a gap");
  ExpectInvalid(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},)"
                R"("b":{"dtype":"U8","shape":[4],"data_offsets":[2,6]}})",
                6,
                "tensor \"b\": data_offsets begin at 2, inside the tensor before it, expected 4");
  ExpectInvalid(R"({"w":{"dtype":"U8","shape":[4],"data_offsets":[0]}})", 4, "has 1 numbers");
  ExpectInvalid(R"({"w":{"dtype":"U8","shape":[4],"data_offsets":[-4,0]}})", 4,
                "negative number -4");
  ExpectInvalid(R"({"w":{"dtype":"U8","shape":[4],"data_offsets":[0,18446744073709551615]}})", 4,
                "18446744073709551615 is too large");
}

TEST(SafetensorsTest, RefusesImpossibleShapes) {
  ExpectInvalid(R"({"w":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}})", 4, "shape has");
  ExpectInvalid(R"({"w":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,0]}})", 0,
                "[4611686018427387904, 4] is too large");
  ExpectInvalid(R"({"w":{"dtype":"F32","shape":[0,9223372036854775807,3],"data_offsets":[0,0]}})",
                0, "is too large");
  ExpectInvalid(R"({"w":{"dtype":"F32","shape":[1.5],"data_offsets":[0,4]}})", 4, "a fraction");
  ExpectInvalid(R"({"w":{"dtype":"U8","shape":[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1],)"
                R"("data_offsets":[0,1]}})",
                1, "not valid JSON");
}

TEST(SafetensorsTest, RefusesUnknownAndMissingFields) {
  ExpectInvalid(R"({"w":{"dtype":"F4","shape":[1],"data_offsets":[0,4]}})", 4,
                "tensor \"w\": unknown dtype \"F4\"");
  ExpectInvalid(R"({"w":{"dtype":"F32","shape":[1]}})", 4, "lacks one of");
  ExpectInvalid(R"({"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4],"x":1}})", 4,
                "unknown field \"x\"");
  ExpectInvalid(R"({"w":{"dtype":"F32","shape":"1","data_offsets":[0,4]}})", 4, "has a string");
}

TEST(SafetensorsTest, RefusesDuplicates) {
  ExpectInvalid(R"({"w":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)"
                R"("w":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}})",
                2, "tensor \"w\" is named twice");
  ExpectInvalid(R"({"w":{"dtype":"U8","dtype":"U8","shape":[1],"data_offsets":[0,1]}})", 1,
                "dtype is given twice");
}

TEST(SafetensorsTest, RefusesWhatIsNotTheHeadersJson) {
  ExpectInvalid("[]", 0, "a list");
  ExpectInvalid("{", 0, "incomplete JSON");
  ExpectInvalid("{}x", 0, "other text");
  ExpectInvalid(R"({"w":[]})", 0, "the entry of \"w\" has a list");
  ExpectInvalid(R"({"w":{"dtype":{}}})", 0, "an object");
  ExpectInvalid(R"({"__metadata__":{"a":[1]}})", 0, "a list");
  ExpectInvalid("", 0, "incomplete JSON");
}

}  // namespace
}  // namespace llava::model
