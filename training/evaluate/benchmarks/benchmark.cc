#include "training/evaluate/benchmarks/benchmark.h"

#include <algorithm>
#include <array>
#include <iterator>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/digest.h"
#include "base/file.h"
#include "base/status_macros.h"
#include "training/evaluate/benchmarks/bench_files.h"
#include "training/evaluate/benchmarks/choice_benches.h"
#include "training/evaluate/benchmarks/llava_bench.h"
#include "training/evaluate/benchmarks/rows_bench.h"
#include "training/evaluate/benchmarks/science_qa.h"
#include "training/evaluate/benchmarks/vqa_benches.h"
#include "training/evaluate/benchmarks/yes_no_benches.h"

namespace llava::training {
namespace {

constexpr std::size_t kMaxPictureBytes = std::size_t{64} << 20;

using Open = absl::StatusOr<Benchmark> (*)(const BenchOptions& options);

absl::StatusOr<Benchmark> OpenMmBenchEnglish(const BenchOptions& options) {
  return OpenMmBench(options, /*chinese=*/false);
}
absl::StatusOr<Benchmark> OpenMmBenchChinese(const BenchOptions& options) {
  return OpenMmBench(options, /*chinese=*/true);
}

constexpr std::array<std::pair<const char*, Open>, 15> kBenchmarks = {{
    {"gqa", OpenGqa},
    {"llava_bench_coco", OpenLlavaBenchCoco},
    {"llava_bench_wild", OpenLlavaBenchWild},
    {"mm-vet", OpenMmVet},
    {"mmbench", OpenMmBenchEnglish},
    {"mmbench_cn", OpenMmBenchChinese},
    {"mme", OpenMme},
    {"pope", OpenPope},
    {"rows", OpenRows},
    {"scienceqa", OpenScienceQa},
    {"seed", OpenSeed},
    {"textvqa", OpenTextVqa},
    {"vicuna_bench", OpenVicunaBench},
    {"vizwiz", OpenVizWiz},
    {"vqav2", OpenVqaV2},
}};

// The first questions alone; a unit stays whole.
void Cut(std::int64_t limit, Benchmark* bench) {
  if (limit <= 0 || !bench->units.empty()) return;
  const auto unit = static_cast<std::int64_t>(bench->unit);
  const std::int64_t keep = (limit + unit - 1) / unit * unit;
  if (keep >= std::ssize(bench->questions)) return;
  bench->questions.resize(static_cast<std::size_t>(keep));
  if (!bench->judged.empty()) bench->judged.resize(static_cast<std::size_t>(keep));
}

// Unambiguous: the length comes first.
void AddText(const std::string& text, Sha256* hash) {
  hash->Update(absl::StrCat(text.size(), ":")).Update(text);
}

}  // namespace

std::vector<std::string> BenchmarkNames() {
  std::vector<std::string> names;
  for (const auto& [name, open] : kBenchmarks) names.emplace_back(name);
  return names;
}

absl::StatusOr<Benchmark> OpenBenchmark(const std::string& name, const BenchOptions& options) {
  for (const auto& [known, open] : kBenchmarks) {
    if (name != known) continue;
    ASSIGN_OR_RETURN(Benchmark bench, open(options));
    Cut(name == "rows" ? 0 : options.limit, &bench);
    return bench;
  }
  return absl::InvalidArgumentError(absl::StrCat("there is no benchmark '", name, "', expected ",
                                                 absl::StrJoin(BenchmarkNames(), ", ")));
}

std::vector<Unit> UnitsOf(const Benchmark& benchmark, std::span<const Grade> grades) {
  if (benchmark.units.empty()) return UnitsOf(grades, benchmark.unit);
  std::vector<Unit> units;
  for (std::size_t i = 0; i < benchmark.units.size(); ++i) {
    const std::size_t begin = benchmark.units[i];
    const std::size_t end = i + 1 < benchmark.units.size() ? benchmark.units[i + 1] : grades.size();
    units.push_back(grades.subspan(begin, end - begin));
  }
  return units;
}

absl::StatusOr<std::string> FingerprintOf(const Benchmark& benchmark) {
  Sha256 hash;
  AddText(benchmark.name, &hash);
  std::map<std::string, Digest> pictures;
  for (const BenchQuestion& question : benchmark.questions) {
    for (const std::string& text :
         {IdText(question.id), question.prompt, question.category, question.expected}) {
      AddText(text, &hash);
    }
    for (const auto& [asked, answered] : question.history) AddText(asked + answered, &hash);
    for (const std::string& image : question.images) {
      if (!pictures.contains(image)) {
        ASSIGN_OR_RETURN(const std::string bytes, ReadFile(image, kMaxPictureBytes));
        pictures[image] = Sha256Of(bytes);
      }
      hash.Update(pictures[image]);
    }
  }
  for (const JudgedPair& pair : benchmark.judged) {
    for (const std::string& text : {pair.context, pair.rule, pair.reference}) AddText(text, &hash);
  }
  return hash.Finish().Hex();
}

}  // namespace llava::training
