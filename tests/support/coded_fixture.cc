#include "tests/support/coded_fixture.h"

#include <cmath>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"

namespace llava::model {
namespace {

template <typename Number>
FixtureTensor Tensor(DType dtype, std::vector<std::int64_t> shape,
                     const std::vector<Number>& numbers) {
  FixtureTensor tensor{.dtype = dtype, .shape = std::move(shape), .bytes = {}};
  tensor.bytes.resize(numbers.size() * sizeof(Number));
  std::memcpy(tensor.bytes.data(), numbers.data(), tensor.bytes.size());
  return tensor;
}

// Ors `code` into the word of the place `at` of a row of words.
void Put(std::vector<std::uint32_t>& words, std::int64_t word, std::int64_t place, int bits,
         std::uint32_t code) {
  words[word] |= code << (place * bits);
}

// AWQ: where of a word the output stands.
std::int64_t AwqPlace(std::int64_t output) {
  constexpr std::int64_t kPlace[] = {0, 4, 1, 5, 2, 6, 3, 7};
  return kPlace[output % 8];
}

}  // namespace

float CodedFixture::Scale(std::int64_t group, std::int64_t row) const {
  return static_cast<float>(std::ldexp(1024 + steps[group * out + row], -16));
}

float CodedFixture::Number(std::int64_t row, std::int64_t k) const {
  const std::int64_t group = group_of[k];
  const auto code = static_cast<float>(q[row * in + k]);
  return (code - static_cast<float>(zeros[group * out + row])) * Scale(group, row);
}

CodedFixture RandomCodes(const ForeignCodes& codes, std::int64_t out, std::int64_t in,
                         bool symmetric, Rng& rng) {
  const std::int64_t group = codes.group == 0 ? in : codes.group;
  CodedFixture matrix{.codes = codes, .out = out, .in = in, .groups = (in + group - 1) / group};
  for (std::int64_t k = 0; k < in; ++k) matrix.group_of.push_back(k / group);
  if (codes.any_order) rng.Shuffle(matrix.group_of);
  const std::uint32_t many = 1u << codes.bits;
  for (std::int64_t i = 0; i < out * in; ++i) {
    const std::uint64_t code =
        symmetric ? many * 3 / 16 + rng.Below(many * 10 / 16 + 1) : rng.Below(many);
    matrix.q.push_back(static_cast<std::uint32_t>(code));
  }
  for (std::int64_t i = 0; i < matrix.groups * out; ++i) {
    matrix.zeros.push_back(symmetric ? many / 2 : static_cast<std::uint32_t>(rng.Below(many)));
    matrix.steps.push_back(static_cast<std::uint16_t>(rng.Below(1024)));
  }
  return matrix;
}

FixtureTensors PackedCodes(const CodedFixture& m, const std::string& module) {
  const int bits = m.codes.bits;
  const std::int64_t a_word = 32 / bits;
  const bool awq = m.codes.method == ForeignCodes::Method::kAwq;
  const std::uint32_t mask = (1u << bits) - 1;
  std::vector<std::uint32_t> weights(m.out * m.in / a_word), zeros(m.groups * m.out / a_word);
  for (std::int64_t o = 0; o < m.out; ++o) {
    const std::int64_t place = awq ? AwqPlace(o) : o % a_word;
    for (std::int64_t k = 0; k < m.in; ++k) {
      const std::uint32_t code = m.q[o * m.in + k];
      if (awq) {
        Put(weights, k * (m.out / 8) + o / 8, place, bits, code);
      } else {
        Put(weights, k / a_word * m.out + o, k % a_word, bits, code);
      }
    }
    for (std::int64_t g = 0; g < m.groups; ++g) {
      const std::uint32_t stored =
          (m.zeros[g * m.out + o] - static_cast<std::uint32_t>(m.codes.zero_offset)) & mask;
      Put(zeros, g * (m.out / a_word) + o / a_word, place, bits, stored);
    }
  }
  // 1.step * 2^-6 in fp16.
  std::vector<std::uint16_t> scales;
  for (const std::uint16_t step : m.steps) {
    scales.push_back(static_cast<std::uint16_t>(9 << 10 | step));
  }
  const std::vector<std::int64_t> weight_shape =
      awq ? std::vector{m.in, m.out / 8} : std::vector{m.in / a_word, m.out};
  FixtureTensors tensors = {
      {module + ".qweight", Tensor(DType::kInt32, weight_shape, weights)},
      {module + ".qzeros", Tensor(DType::kInt32, {m.groups, m.out / a_word}, zeros)},
      {module + ".scales", Tensor(DType::kFloat16, {m.groups, m.out}, scales)}};
  if (awq) return tensors;
  const std::vector<std::int32_t> groups(m.group_of.begin(), m.group_of.end());
  tensors[module + ".g_idx"] = Tensor(DType::kInt32, {m.in}, groups);
  return tensors;
}

FixtureTensors PlainNumbers(const CodedFixture& m, const std::string& module) {
  std::vector<float> numbers;
  for (std::int64_t o = 0; o < m.out; ++o) {
    for (std::int64_t k = 0; k < m.in; ++k) numbers.push_back(m.Number(o, k));
  }
  return {{module + ".weight", Tensor(DType::kFloat32, {m.out, m.in}, numbers)}};
}

std::string QuantizationConfig(const ForeignCodes& codes) {
  const int group = codes.group == 0 ? -1 : codes.group;
  if (codes.method == ForeignCodes::Method::kAwq) {
    return absl::StrCat(R"("quantization_config": {"quant_method": "awq", "bits": 4, )",
                        R"("zero_point": true, "version": "gemm", "group_size": )", group, "}");
  }
  return absl::StrCat(R"("quantization_config": {"quant_method": "gptq", "checkpoint_format": ")",
                      codes.zero_offset == 1 ? "gptq" : "gptq_v2", R"(", "bits": )", codes.bits,
                      R"(, "desc_act": )", codes.any_order ? "true" : "false",
                      R"(, "group_size": )", group, "}");
}

}  // namespace llava::model
