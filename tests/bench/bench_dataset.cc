// What it takes to open instruction data of the size of LLaVA-1.5's mixture and to read rows of it.
//   bench_dataset FOLDER [ROWS]   writes data.json.gz and data.json there, and removes them again
#include <unistd.h>
#include <zlib.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "base/rng.h"
#include "training/data/instruction_dataset.h"

namespace llava::training {
namespace {

constexpr std::int64_t kRows = 665'298;  // llava_v1_5_mix665k.json
constexpr int kReads = 10'000;

std::string RowText(std::int64_t index, Rng& rng) {
  std::string answer;
  const auto words = rng.Between(10, 400);
  for (std::int64_t i = 0; i < words; ++i) absl::StrAppend(&answer, "word", rng.Below(1000), " ");
  return absl::StrCat(R"({"id": "row-)", index, R"(", "image": "coco/)", index, R"(.jpg", )",
                      R"("conversations": [{"from": "human", "value": "<image>\nWhat is it?"}, )",
                      R"({"from": "gpt", "value": ")", answer, R"("}]})");
}

void Write(const std::string& plain, const std::string& packed, std::int64_t rows) {
  Rng rng(1);
  std::ofstream out(plain, std::ios::binary);
  gzFile gzip = gzopen(packed.c_str(), "wb1");
  for (std::int64_t i = 0; i < rows; ++i) {
    const std::string text = absl::StrCat(i == 0 ? "[" : ",\n", RowText(i, rng));
    out << text;
    gzwrite(gzip, text.data(), static_cast<unsigned>(text.size()));
  }
  out << "]\n";
  gzwrite(gzip, "]\n", 2);
  gzclose(gzip);
}

double ResidentMebibytes() {
  std::ifstream statm("/proc/self/statm");
  double total = 0;
  double resident = 0;
  statm >> total >> resident;
  return resident * static_cast<double>(sysconf(_SC_PAGESIZE)) / (1 << 20);
}

void Measure(const std::string& file, const Clock& clock) {
  const double before = ResidentMebibytes();
  const TimePoint start = clock.Now();
  const auto data = InstructionDataset::Open({file}, {});
  if (!data.ok()) {
    std::fprintf(stderr, "%s\n", std::string(data.status().message()).c_str());
    std::exit(1);
  }
  const TimePoint opened = clock.Now();
  Rng rng(2);
  for (int i = 0; i < kReads; ++i) {
    const auto index = static_cast<std::int64_t>(rng.Below(data->size()));
    if (!data->Read(index).ok()) std::exit(1);
  }
  const Duration reading = clock.Now() - opened;
  std::printf(
      "%s: %.0f MiB, %lld rows opened in %.1f s, resident memory +%.1f MiB, a row read in "
      "%.0f us\n",
      file.c_str(), static_cast<double>(std::filesystem::file_size(file)) / (1 << 20),
      static_cast<long long>(data->size()), Seconds(opened - start), ResidentMebibytes() - before,
      1e6 * Seconds(reading) / kReads);
}

}  // namespace
}  // namespace llava::training

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: bench_dataset FOLDER [ROWS]\n");
    return 2;
  }
  const std::string plain = std::string(argv[1]) + "/data.json";
  const std::string packed = plain + ".gz";
  llava::training::Write(plain, packed, argc > 2 ? std::atoll(argv[2]) : llava::training::kRows);
  const llava::RealClock clock;
  llava::training::Measure(plain, clock);
  llava::training::Measure(packed, clock);
  std::filesystem::remove(plain);
  std::filesystem::remove(packed);
  return 0;
}
