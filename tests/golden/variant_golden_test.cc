// Settings that the golden checkpoint does not have (made by make_variant_golden.py): its weights
// under other configurations, against the reference's logits and greedy ids.
#include <c10/core/InferenceMode.h>
#include <gtest/gtest.h>

#include <boost/json.hpp>
#include <filesystem>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/durable_file.h"
#include "model/checkpoint/tensor_file.h"
#include "server/commands/generate_command.h"
#include "tests/golden/golden_data.h"
#include "tests/support/temp_dir.h"

namespace llava::model {
namespace {

namespace fs = std::filesystem;
namespace json = boost::json;

constexpr double kFp32Tolerance = 1e-4;

const json::value& Variants() {
  static const json::value variants = [] {
    const auto file = MappedFile::Open(absl::StrCat(GoldenDir(), "/variants/variants.json"));
    LLAVA_CHECK(file.ok());
    return json::parse({(*file)->bytes().data(), (*file)->bytes().size()});
  }();
  return variants;
}

const json::array& List() { return Variants().at("variants").as_array(); }

at::Tensor TensorIn(const std::string& path, const std::string& name) {
  const auto file = OpenTensorFile(path);
  LLAVA_CHECK(file.ok());
  return *TensorOf({.stored = file->tensors.at(name), .file = file->file, .key = name});
}

class GoldenVariant : public testing::TestWithParam<std::size_t> {
 protected:
  const json::value& variant() const { return List().at(GetParam()); }
  std::string Text(const char* key) const { return json::value_to<std::string>(variant().at(key)); }
  std::vector<int> Ids(const char* key) const {
    return json::value_to<std::vector<int>>(variant().at(key));
  }

  test::TempDir dir_;
};

std::string VariantName(const testing::TestParamInfo<std::size_t>& info) {
  return json::value_to<std::string>(List().at(info.param).at("name"));
}

INSTANTIATE_TEST_SUITE_P(Variants, GoldenVariant, testing::Range<std::size_t>(0, List().size()),
                         VariantName);

TEST_P(GoldenVariant, LogitsAndGreedyIdsEqualTheReference) {
  fs::copy(GoldenCheckpoint(), dir_.path());
  ASSERT_TRUE(WriteFile(absl::StrCat(dir_.path(), "/config.json"), Text("config")).ok());
  GenerateOptions options;
  options.directory = dir_.path();
  options.images = {
      absl::StrCat(GoldenDir(), "/images/", json::value_to<std::string>(Variants().at("image")))};
  options.prompt = json::value_to<std::string>(Variants().at("prompt"));
  options.raw = true;
  options.json = true;
  options.ignore_eos = true;
  options.max_tokens = static_cast<int>(Ids("answer_ids").size());
  options.dump_stages = absl::StrCat(dir_.path(), "/stages.safetensors");
  std::string out;
  const absl::Status status = Generate(options, [&](std::string_view text) { out += text; });
  ASSERT_TRUE(status.ok()) << status;

  const at::Tensor logits = TensorIn(options.dump_stages, "logits");
  const at::Tensor expected =
      TensorIn(absl::StrCat(GoldenDir(), "/variants/logits.safetensors"), Text("name"));
  EXPECT_LT(MaxDifference(logits[-1], expected), kFp32Tolerance);
  const json::value answer = json::parse(out);
  EXPECT_EQ(json::value_to<std::vector<int>>(answer.at("prompt_ids")), Ids("prompt_ids"));
  EXPECT_EQ(json::value_to<std::vector<int>>(answer.at("answer_ids")), Ids("answer_ids"));
}

}  // namespace
}  // namespace llava::model
