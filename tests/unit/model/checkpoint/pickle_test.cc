// The files under data/torch_save were written by torch.save of PyTorch 2.11: a state dict in both
// formats, a list, and a dictionary whose unpickling would run a command.
#include "model/checkpoint/pickle.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

#include "absl/strings/str_cat.h"
#include "base/rng.h"
#include "model/checkpoint/unpickler.h"
#include "tests/support/checkpoint_fixture.h"

namespace llava::model {
namespace {

using testing::HasSubstr;

std::string Fixture(const std::string& name) {
  return ReadBytes(absl::StrCat("tests/unit/model/checkpoint/data/torch_save/", name));
}

std::vector<float> Floats(std::string_view bytes) {
  std::vector<float> values(bytes.size() / sizeof(float));
  std::memcpy(values.data(), bytes.data(), values.size() * sizeof(float));
  return values;
}

class StateDict : public testing::TestWithParam<const char*> {};
std::string FormatName(const testing::TestParamInfo<const char*>& info) {
  return std::string(info.param, std::strlen(info.param) - std::strlen(".bin"));
}

INSTANTIATE_TEST_SUITE_P(Formats, StateDict, testing::Values("zip.bin", "legacy.bin"), FormatName);

TEST_P(StateDict, IsRead) {
  const std::string file = Fixture(GetParam());
  const auto tensors = ParseTorchSave(file);
  ASSERT_TRUE(tensors.ok()) << tensors.status();
  ASSERT_EQ(tensors->size(), 7u);
  const StoredTensor& weight = tensors->at("model.mm_projector.0.weight");
  EXPECT_EQ(weight.dtype, DType::kBfloat16);
  EXPECT_EQ(weight.shape, (std::vector<std::int64_t>{3, 4}));
  EXPECT_TRUE(weight.strides.empty());
  EXPECT_EQ(weight.bytes.size(), 24u);
  EXPECT_EQ(weight.bytes.substr(2, 2), "\x80\x3f");  // 1.0
  EXPECT_EQ(tensors->at("model.mm_projector.0.bias").dtype, DType::kFloat16);
  EXPECT_EQ(Floats(tensors->at("whole").bytes),
            (std::vector<float>{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}));
  EXPECT_EQ(tensors->at("parameter").dtype, DType::kFloat64);
  EXPECT_EQ(tensors->at("scalar").bytes, std::string("\7\0\0\0\0\0\0\0", 8));
}

TEST_P(StateDict, KeepsViewsAsViews) {
  const std::string file = Fixture(GetParam());
  const auto tensors = ParseTorchSave(file);
  ASSERT_TRUE(tensors.ok()) << tensors.status();
  const StoredTensor& transposed = tensors->at("strided");
  EXPECT_EQ(transposed.shape, (std::vector<std::int64_t>{4, 3}));
  EXPECT_EQ(transposed.strides, (std::vector<std::int64_t>{1, 4}));
  const StoredTensor& tail = tensors->at("tail");
  EXPECT_EQ(tail.shape, (std::vector<std::int64_t>{2, 3}));
  EXPECT_EQ(tail.strides, (std::vector<std::int64_t>{4, 1}));
  EXPECT_EQ(Floats(tail.bytes), (std::vector<float>{5, 6, 7, 8, 9, 10, 11}));
}

TEST_P(StateDict, CutAnywhereIsAnError) {
  const std::string file = Fixture(GetParam());
  for (std::size_t size = 0; size < file.size(); ++size) {
    EXPECT_FALSE(ParseTorchSave(std::string_view(file).substr(0, size)).ok()) << size;
  }
}

TEST_P(StateDict, AnyChangedByteIsReadOrRefused) {
  const std::string file = Fixture(GetParam());
  Rng rng(20250);
  for (int round = 0; round < 20000; ++round) {
    std::string changed = file;
    for (std::uint64_t i = 0; i <= rng.Below(3); ++i) {
      changed[rng.Below(changed.size())] = static_cast<char>(rng.Next());
    }
    const auto tensors = ParseTorchSave(changed);
    if (!tensors.ok()) continue;
    for (const auto& [name, tensor] : *tensors) {
      ASSERT_TRUE(tensor.bytes.empty() ||
                  (tensor.bytes.data() >= changed.data() &&
                   tensor.bytes.data() + tensor.bytes.size() <= changed.data() + changed.size()));
    }
  }
}

TEST(PickleTest, ExecutesNothing) {
  const auto tensors = ParseTorchSave(Fixture("evil.bin"));
  EXPECT_EQ(tensors.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(tensors.status().message()), HasSubstr("\"posix.system\""));
}

TEST(PickleTest, RefusesWhatIsNoDictionaryOfTensors) {
  EXPECT_THAT(std::string(ParseTorchSave(Fixture("list.bin")).status().message()),
              HasSubstr("no dictionary of tensors"));
  EXPECT_THAT(std::string(ParseTorchSave("hello").status().message()),
              HasSubstr("not a file that torch.save wrote"));
}

TEST(PickleTest, TheMachineRefusesBrokenPrograms) {
  const auto message = [](std::string_view program) {
    return std::string(Unpickle(program).status().message());
  };
  EXPECT_THAT(message(""), HasSubstr("without STOP"));
  EXPECT_THAT(message("."), HasSubstr("stack is empty"));
  EXPECT_THAT(message("(."), HasSubstr("stack is empty"));
  EXPECT_THAT(message("t."), HasSubstr("no MARK"));
  EXPECT_THAT(message("N(\x85t."), HasSubstr("stack is empty"));
  EXPECT_THAT(message("h\x05."), HasSubstr("memo has no entry 5"));
  EXPECT_THAT(message("}K\x01s."), HasSubstr("no container"));
  EXPECT_THAT(message("NNNs."), HasSubstr("not their container"));
  EXPECT_THAT(message("cbuiltins\neval\n."), HasSubstr("\"builtins.eval\""));
  EXPECT_THAT(message("\x8c\x08"
                      "builtins\x8c\x04"
                      "exec\x93."),
              HasSubstr("\"builtins.exec\""));
  EXPECT_THAT(message("i__main__\nX\n."), HasSubstr("not an opcode"));
  EXPECT_THAT(message("NNR."), HasSubstr("not a name"));
  EXPECT_THAT(message("NQ."), HasSubstr("description of a storage"));
  EXPECT_THAT(message("X\xff\xff\xff\xff"), HasSubstr("truncated"));
}

}  // namespace
}  // namespace llava::model
