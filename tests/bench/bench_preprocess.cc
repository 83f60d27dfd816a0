// How long an image takes from its decoded pixels to the vision tower's input, and its decoding.
//   bench_preprocess [FILE...]   the files are decoded too
#include <benchmark/benchmark.h>

#include <cstdint>
#include <fstream>
#include <sstream>
#include <string>

#include "base/rng.h"
#include "model/image/image.h"
#include "model/image/preprocess.h"

namespace llava::model {
namespace {

RgbImage Image(std::int64_t width, std::int64_t height) {
  Rng rng(1);
  RgbImage image{static_cast<int>(width), static_cast<int>(height), {}};
  image.pixels.resize(static_cast<std::size_t>(3 * width * height));
  for (auto& byte : image.pixels) byte = static_cast<std::uint8_t>(rng.Next());
  return image;
}

void BM_Preprocess(benchmark::State& state) {
  const RgbImage image = Image(state.range(0), state.range(1));
  PreprocessSettings settings;
  settings.aspect = state.range(2) != 0 ? ImageAspect::kPad : ImageAspect::kCrop;
  const Preprocessor preprocessor(settings);
  for (auto _ : state) benchmark::DoNotOptimize(preprocessor.Process(image));
  state.counters["megapixels"] = static_cast<double>(state.range(0) * state.range(1)) / 1e6;
}
BENCHMARK(BM_Preprocess)
    ->ArgNames({"width", "height", "pad"})
    ->Args({336, 336, 0})
    ->Args({640, 480, 0})
    ->Args({640, 480, 1})
    ->Args({1920, 1080, 0})
    ->Args({4000, 3000, 0})
    ->Args({4000, 3000, 1})
    ->Args({3000, 4000, 0})
    ->Unit(benchmark::kMillisecond);

void DecodeFile(benchmark::State& state, const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream out;
  out << in.rdbuf();
  const std::string bytes = out.str();
  for (auto _ : state) {
    const auto image = DecodeImage(bytes, {.max_bytes = bytes.size(), .max_pixels = 1 << 30});
    if (!image.ok()) return state.SkipWithError(std::string(image.status().message()).c_str());
    benchmark::DoNotOptimize(image->pixels.data());
  }
}

}  // namespace
}  // namespace llava::model

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  for (int i = 1; i < argc; ++i) {
    benchmark::RegisterBenchmark(argv[i], llava::model::DecodeFile, std::string(argv[i]))
        ->Unit(benchmark::kMillisecond);
  }
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
