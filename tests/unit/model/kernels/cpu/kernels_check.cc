// Every kernel of every instruction set that this processor has, against the plain arithmetic in
// double precision. Stands alone, without GoogleTest and LibTorch, so that a cross compiler can
// make it for another processor and an emulator run it (scripts/neon-check). Exit code 1 when
// something is off by more than rounding explains.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "base/rng.h"
#include "model/kernels/cpu/dispatch.h"
#include "model/kernels/cpu/quantize.h"

namespace llava::model {
namespace {

int failures = 0;
int checks = 0;

void Check(const KernelTable& table, const std::string& what, double found, double expected,
           double bound) {
  ++checks;
  if (std::isfinite(found) && std::abs(found - expected) <= bound) return;
  if (++failures > 20) return;
  std::printf("%s: %s is %.9g, expected %.9g within %.3g\n", table.name, what.c_str(), found,
              expected, bound);
}

std::vector<float> Normals(Rng& rng, std::int64_t count, double size = 1) {
  std::vector<float> numbers;
  for (std::int64_t i = 0; i < count; ++i) {
    numbers.push_back(static_cast<float>(rng.Normal() * size));
  }
  return numbers;
}

// The largest of the group of `group` neighbours that each number of a row is in.
std::vector<double> Tops(const float* row, std::int64_t in, std::int64_t group) {
  std::vector<double> tops(static_cast<std::size_t>(in), 0.0);
  for (std::int64_t i = 0; i < in; ++i) {
    const std::int64_t begin = i / group * group;
    for (std::int64_t j = begin; j < std::min(in, begin + group); ++j) {
      tops[i] = std::max(tops[i], std::abs(static_cast<double>(row[j])));
    }
  }
  return tops;
}

// A weight matrix [out, in] as a format packs it, and the numbers that it stands for.
struct Weights {
  std::vector<float> numbers;
  std::vector<std::uint32_t> panels;
};

Weights PackWeights(const KernelTable& table, WeightFormat format, Rng& rng, std::int64_t out,
                    std::int64_t in) {
  const GemmKernels& gemm = table.gemm[static_cast<int>(format)];
  Weights w{.numbers = Normals(rng, out * in), .panels = {}};
  const std::int64_t group = GroupOf(format);
  const std::int64_t groups = group == 0 ? 0 : (in + group - 1) / group;
  std::vector<std::int8_t> codes(static_cast<std::size_t>(out * in));
  std::vector<float> scales(static_cast<std::size_t>(out * groups));
  for (std::int64_t o = 0; o < out && group > 0; ++o) {
    const std::span<float> row(&w.numbers[o * in], static_cast<std::size_t>(in));
    Quantize(format, row, &codes[o * in], &scales[o * groups]);
    Dequantize(format, {&codes[o * in], static_cast<std::size_t>(in)}, &scales[o * groups],
               row.data());
  }
  const std::int64_t words = gemm.u32_per_column(in) * table.panel;
  const std::int64_t panels = (out + table.panel - 1) / table.panel;
  w.panels.assign(static_cast<std::size_t>(panels * words), 0);
  for (std::int64_t p = 0; p < panels; ++p) {
    const std::int64_t first = p * table.panel;
    const std::int64_t count = std::min<std::int64_t>(table.panel, out - first);
    if (group == 0) {
      gemm.pack_columns(&w.numbers[first * in], count, in, &w.panels[p * words]);
    } else {
      gemm.pack_codes(&codes[first * in], &scales[first * groups], count, in, &w.panels[p * words]);
    }
  }
  return w;
}

// What a product may be off by: rounding of sums, and of the numbers of x and W as they are held.
double BoundOf(WeightFormat format, const float* x, const std::vector<double>& x_tops,
               const float* w, const std::vector<double>& w_tops) {
  const auto in = static_cast<std::int64_t>(x_tops.size());
  double sum = 1e-30;
  for (std::int64_t i = 0; i < in; ++i) {
    const double ax = std::abs(x[i]), aw = std::abs(w[i]);
    sum += ax * aw * 4e-6;
    if (format == WeightFormat::kInt8) sum += x_tops[i] * aw / 32768;
    if (format == WeightFormat::kInt4) sum += x_tops[i] * aw / 253;
    if (format == WeightFormat::kBlockFloat) sum += (x_tops[i] * aw + ax * w_tops[i]) / 4096;
  }
  return sum;
}

void CheckProduct(const KernelTable& table, WeightFormat format, std::int64_t rows, std::int64_t in,
                  std::int64_t out) {
  Rng rng(static_cast<std::uint64_t>(rows * 1000 + in));
  const GemmKernels& gemm = table.gemm[static_cast<int>(format)];
  const Weights w = PackWeights(table, format, rng, out, in);
  const std::vector<float> x = Normals(rng, rows * in), bias = Normals(rng, out);
  std::vector<std::uint32_t> packed(static_cast<std::size_t>(rows * gemm.u32_per_row(in)));
  std::vector<float> y(static_cast<std::size_t>(rows * out));
  const GemmArgs args{.x = x.data(),
                      .ldx = in,
                      .rows = rows,
                      .in = in,
                      .out = out,
                      .u32_per_row = gemm.u32_per_row(in),
                      .u32_per_column = gemm.u32_per_column(in),
                      .panels = w.panels.data(),
                      .bias = bias.data(),
                      .packed_x = packed.data(),
                      .y = y.data(),
                      .ldy = out};
  const std::int64_t tiles = (rows + table.tile_rows - 1) / table.tile_rows;
  const std::int64_t panels = (out + table.panel - 1) / table.panel;
  std::vector<float> sums(static_cast<std::size_t>(tiles * table.tile_rows * panels * table.panel));
  gemm.pack_rows(args, 0, tiles);
  const std::int64_t group = format == WeightFormat::kInt4 ? kInt4Group : 128;
  std::vector<std::vector<double>> x_tops, w_tops;
  for (std::int64_t r = 0; r < rows; ++r) x_tops.push_back(Tops(&x[r * in], in, group));
  for (std::int64_t o = 0; o < out; ++o) w_tops.push_back(Tops(&w.numbers[o * in], in, group));
  for (const bool many : {false, true}) {
    std::fill(y.begin(), y.end(), NAN);
    if (many) {
      gemm.many_rows(args, 0, tiles, 0, panels, sums.data());
    } else {
      gemm.few_rows(args, 0, panels);
    }
    for (std::int64_t r = 0; r < rows; ++r) {
      for (std::int64_t o = 0; o < out; ++o) {
        double expected = bias[o];
        for (std::int64_t i = 0; i < in; ++i) {
          expected += static_cast<double>(x[r * in + i]) * w.numbers[o * in + i];
        }
        const double bound = BoundOf(format, &x[r * in], x_tops[r], &w.numbers[o * in], w_tops[o]);
        Check(table, "format " + std::to_string(static_cast<int>(format)) + ", a product",
              y[r * out + o], expected, bound + std::abs(expected) * 1e-6);
      }
    }
  }
}

// Numbers of a cache of one head in the layout of AttentionArgs.
struct Cache {
  std::vector<char> keys, values;
  std::vector<float> k, v;  // what they stand for, [tokens][head_dim]
};

float RoundedToBf16(float x) {
  std::uint32_t bits;
  std::memcpy(&bits, &x, sizeof(bits));
  bits &= 0xFFFF0000u;
  std::memcpy(&x, &bits, sizeof(x));
  return x;
}

// Puts number i of a tile of words of `in_word` numbers; codes are numbers, too.
void PutNumber(KvFormat format, char* tile, std::int64_t i, float x) {
  if (format == KvFormat::kFp32) {
    std::memcpy(tile + i * 4, &x, 4);
  } else if (format == KvFormat::kBf16) {
    std::uint32_t bits;
    std::memcpy(&bits, &x, sizeof(bits));
    const auto half = static_cast<std::uint16_t>(bits >> 16);
    std::memcpy(tile + i * 2, &half, 2);
  } else {
    tile[i] = static_cast<char>(static_cast<std::int8_t>(std::lrint(x)));
  }
}

Cache MakeCache(KvFormat format, Rng& rng, std::int64_t tokens, std::int64_t dim) {
  const std::int64_t in_word = format == KvFormat::kFp32 ? 1 : format == KvFormat::kBf16 ? 2 : 4;
  const std::int64_t padded = PaddedHeadDim(static_cast<int>(dim));
  const std::int64_t bytes = 4 / in_word, scales = format == KvFormat::kInt8 ? 64 : 0;
  const std::int64_t key_tile = 16 * dim * bytes + scales;
  const std::int64_t value_tile = 16 * padded * bytes + scales;
  const std::int64_t blocks = (tokens + 15) / 16;
  Cache cache{.keys = std::vector<char>(static_cast<std::size_t>(blocks * key_tile), '\x7f'),
              .values = std::vector<char>(static_cast<std::size_t>(blocks * value_tile), '\x7f'),
              .k = Normals(rng, tokens * dim),
              .v = Normals(rng, tokens * dim)};
  for (std::int64_t t = 0; t < tokens; ++t) {
    const std::int64_t token = t % 16;
    for (const bool is_key : {true, false}) {
      char* tile = is_key ? &cache.keys[t / 16 * key_tile] : &cache.values[t / 16 * value_tile];
      float* numbers = is_key ? &cache.k[t * dim] : &cache.v[t * dim];
      const float scale = is_key ? 0.02f : 0.03f;
      if (scales > 0) {
        std::memcpy(tile + (is_key ? key_tile : value_tile) - 64 + token * 4, &scale, 4);
      }
      for (std::int64_t d = 0; d < dim; ++d) {
        float stored = format == KvFormat::kBf16 ? RoundedToBf16(numbers[d]) : numbers[d];
        if (scales > 0) stored = std::clamp(std::rint(numbers[d] / scale), -127.0f, 127.0f);
        numbers[d] = scales > 0 ? stored * scale : stored;
        const std::int64_t place = is_key
                                       ? (d / in_word * 16 + token) * in_word + d % in_word
                                       : (token / in_word * padded + d) * in_word + token % in_word;
        PutNumber(format, tile, place, stored);
      }
    }
  }
  return cache;
}

void CheckAttention(const KernelTable& table, KvFormat format, std::int64_t queries,
                    std::int64_t context, int dim, std::int64_t window) {
  Rng rng(static_cast<std::uint64_t>(context * 7 + dim));
  const std::int64_t tokens = context + queries;
  const Cache cache = MakeCache(format, rng, tokens, dim);
  const std::vector<float> q = Normals(rng, queries * dim);
  std::vector<float> out(static_cast<std::size_t>(queries * dim), NAN);
  std::vector<std::int32_t> blocks;
  for (std::int32_t b = 0; b < static_cast<std::int32_t>((tokens + 15) / 16); ++b) {
    blocks.push_back(b);
  }
  const auto count = static_cast<std::int64_t>(blocks.size());
  AttentionArgs args{};
  args.q = q.data();
  args.q_token_stride = args.out_token_stride = dim;
  args.out = out.data();
  args.group = 1;
  args.head_dim = dim;
  args.scale_log2e = static_cast<float>(1.4426950408889634 / std::sqrt(dim));
  args.first_visible = context + 1;
  args.causal = true;
  args.window = window;
  args.keys = cache.keys.data();
  args.values = cache.values.data();
  args.key_tile_bytes = static_cast<std::int64_t>(cache.keys.size()) / count;
  args.value_tile_bytes = static_cast<std::int64_t>(cache.values.size()) / count;
  args.kv_heads = 1;
  args.format = format;
  args.blocks = blocks.data();
  for (std::int64_t row = 0; row < queries; row += table.attention_rows) {
    table.attend(args, 0, row, std::min<std::int64_t>(table.attention_rows, queries - row));
  }
  for (std::int64_t row = 0; row < queries; ++row) {
    std::vector<double> weights;
    double sum = 0;
    const std::int64_t seen = context + row + 1;
    const std::int64_t first = window > 0 ? std::max<std::int64_t>(seen - window, 0) : 0;
    for (std::int64_t t = first; t < seen; ++t) {
      double score = 0;
      for (int d = 0; d < dim; ++d) score += double(q[row * dim + d]) * cache.k[t * dim + d];
      weights.push_back(std::exp(score / std::sqrt(dim)));
      sum += weights.back();
    }
    for (int d = 0; d < dim; ++d) {
      double expected = 0;
      for (std::size_t t = 0; t < weights.size(); ++t) {
        expected += weights[t] / sum * cache.v[(first + static_cast<std::int64_t>(t)) * dim + d];
      }
      Check(table, "attention of format " + std::to_string(static_cast<int>(format)),
            out[row * dim + d], expected, 2e-5);
    }
  }
}

void CheckRows(const KernelTable& table, std::int64_t n) {
  Rng rng(static_cast<std::uint64_t>(n));
  const std::vector<float> x = Normals(rng, n, 2), w = Normals(rng, n);
  std::vector<float> y(x.size());
  double squares = 0;
  for (const float number : x) squares += double(number) * number;
  const double scale = 1 / std::sqrt(squares / static_cast<double>(n) + 1e-5);
  table.rms_norm_row(x.data(), w.data(), 1e-5f, n, y.data());
  for (std::int64_t i = 0; i < n; ++i) Check(table, "rms_norm", y[i], x[i] * scale * w[i], 1e-5);
  table.silu_times_row(x.data(), w.data(), n, y.data());
  for (std::int64_t i = 0; i < n; ++i) {
    Check(table, "silu", y[i], x[i] / (1 + std::exp(-double(x[i]))) * w[i], 1e-5);
  }
  table.quick_gelu_row(x.data(), n, y.data());
  for (std::int64_t i = 0; i < n; ++i) {
    Check(table, "gelu", y[i], x[i] / (1 + std::exp(-1.702 * x[i])), 1e-5);
  }
  const float top = *std::max_element(x.begin(), x.end());
  Check(table, "max", table.max_of_row(x.data(), n), top, 0);
  std::vector<float> blocks(static_cast<std::size_t>((n + kSumBlock - 1) / kSumBlock));
  const double total = table.weights_of_row(x.data(), top, 1.5f, n, y.data(), blocks.data());
  double sum = 0, kept = 0;
  std::int64_t count = 0;
  for (std::int64_t i = 0; i < n; ++i) {
    Check(table, "weight", y[i], std::exp2((double(x[i]) - top) * 1.5), 1e-6);
    sum += y[i];
    kept += y[i] >= 0.1f ? y[i] : 0;
    count += y[i] >= 0.1f ? 1 : 0;
  }
  Check(table, "sum of weights", total, sum, 1e-5 * sum);
  const RowShare share = table.share_of(y.data(), 0.1f, n);
  Check(table, "share", share.sum, kept, 1e-5 * sum);
  Check(table, "count", static_cast<double>(share.count), static_cast<double>(count), 0);
  Check(table, "cut", table.cut_row(y.data(), 0.1f, n, blocks.data()), kept, 1e-5 * sum);
  const auto found = table.find_in_row(x.data(), 0, n, top, std::nextafter(top, INFINITY));
  Check(table, "find", x[found], top, 0);
}

int Main() {
  for (const KernelTable* table : SupportedKernels()) {
    const int before = checks;
    for (const WeightFormat format : {WeightFormat::kFp32, WeightFormat::kBlockFloat,
                                      WeightFormat::kInt8, WeightFormat::kInt4}) {
      for (const std::int64_t in : {1, 3, 130, 300}) {
        for (const std::int64_t rows : {1, 2, 5, 13, 40})
          CheckProduct(*table, format, rows, in, 37);
      }
    }
    for (const KvFormat format : {KvFormat::kFp32, KvFormat::kBf16, KvFormat::kInt8}) {
      for (const int dim : {4, 20, 64, 128}) {
        for (const std::int64_t window : {0, 1, 20, 75}) {
          CheckAttention(*table, format, 1, 0, dim, window);
          CheckAttention(*table, format, 1, 77, dim, window);
          CheckAttention(*table, format, 50, 100, dim, window);
        }
      }
    }
    for (const std::int64_t n : {1, 5, 64, 1000, 5003}) CheckRows(*table, n);
    std::printf("%s: %d checks\n", table->name, checks - before);
  }
  std::printf("%d of %d checks failed\n", failures, checks);
  return failures == 0 ? 0 : 1;
}

}  // namespace
}  // namespace llava::model

int main() { return llava::model::Main(); }
