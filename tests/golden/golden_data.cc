#include "tests/golden/golden_data.h"

#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <boost/json.hpp>
#include <cstdlib>
#include <fstream>
#include <map>
#include <sstream>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "model/checkpoint/tensor_file.h"
#include "tests/support/test_device.h"

namespace llava::model {
namespace {

namespace json = boost::json;

std::string ReadAll(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  LLAVA_CHECK(file.good());
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

std::vector<std::int64_t> Ints(const json::value& value) {
  return json::value_to<std::vector<std::int64_t>>(value);
}

const TensorFile& Tensors() {
  static const TensorFile tensors = [] {
    auto file = OpenTensorFile(absl::StrCat(GoldenDir(), "/golden.safetensors"));
    LLAVA_CHECK(file.ok());
    return *std::move(file);
  }();
  return tensors;
}

std::vector<GoldenCase> ReadCases() {
  const json::value manifest = json::parse(ReadAll(absl::StrCat(GoldenDir(), "/manifest.json")));
  std::vector<GoldenCase> cases;
  for (const json::value& item : manifest.at("cases").as_array()) {
    GoldenCase golden;
    golden.name = json::value_to<std::string>(item.at("name"));
    golden.prompt = json::value_to<std::string>(item.at("prompt"));
    for (const json::value& image : item.at("images").as_array()) {
      golden.images.push_back(
          absl::StrCat(GoldenDir(), "/images/", json::value_to<std::string>(image)));
    }
    golden.text_ids = Ints(item.at("text_ids"));
    golden.input_ids = Ints(item.at("input_ids"));
    golden.logits_positions = Ints(item.at("logits_positions"));
    golden.greedy_ids = Ints(item.at("greedy_ids"));
    golden.greedy_margins = json::value_to<std::vector<double>>(item.at("greedy_margins"));
    cases.push_back(std::move(golden));
  }
  return cases;
}

constexpr std::int64_t kImageId = 1000;

}  // namespace

at::Tensor GoldenCase::Tensor(const std::string& what) const {
  const auto at = Tensors().tensors.find(name + "." + what);
  LLAVA_CHECK(at != Tensors().tensors.end());
  const auto tensor = TensorOf({.stored = at->second, .file = Tensors().file, .key = at->first});
  LLAVA_CHECK(tensor.ok());
  return *tensor;
}

std::vector<std::int64_t> GoldenCase::ImageRows() const {
  std::vector<std::int64_t> rows;
  for (std::size_t i = 0; i < input_ids.size(); ++i) {
    if (input_ids[i] == kImageId) rows.push_back(static_cast<std::int64_t>(i));
  }
  return rows;
}

std::string GoldenDir() { return "tests/golden/data"; }

std::string GoldenCheckpoint() { return absl::StrCat(GoldenDir(), "/checkpoint"); }

const std::vector<GoldenCase>& GoldenCases() {
  static const std::vector<GoldenCase> cases = ReadCases();
  return cases;
}

std::unique_ptr<Llava> LoadGolden(at::ScalarType dtype, bool pack) {
  at::set_num_threads(1);  // so small a model is faster that way
  at::globalContext().setAllowTF32CuDNN(false);
  auto model =
      Llava::Load(GoldenCheckpoint(), {.dtype = dtype, .device = TestDevice(), .pack = pack});
  EXPECT_TRUE(model.ok()) << model.status();
  LLAVA_CHECK(model.ok());
  return *std::move(model);
}

at::Tensor GoldenEmbeddings(const Llava& model, const GoldenCase& golden,
                            const std::vector<std::int64_t>& ids) {
  const at::Tensor embeddings = model.Embed(at::tensor(ids).to(model.device()));
  if (golden.images.empty()) return embeddings;
  const at::Tensor features = model.EncodeImages(golden.Tensor("pixel_values").to(model.device()));
  return Llava::PlaceImages(embeddings, at::tensor(golden.ImageRows()).to(model.device()),
                            features.flatten(0, 1));
}

double MaxDifference(const at::Tensor& a, const at::Tensor& b) {
  EXPECT_EQ(a.sizes(), b.sizes());
  const auto wide = [](const at::Tensor& x) { return x.to(at::kCPU, at::kFloat); };
  return (wide(a) - wide(b)).abs().max().item<double>();
}

}  // namespace llava::model
