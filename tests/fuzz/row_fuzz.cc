// Any file of instruction rows: found alike in one piece and byte by byte, and each is a row as
// row.h promises it or an issue.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "absl/strings/str_split.h"
#include "base/check.h"
#include "base/utf8_stream.h"
#include "training/data/row.h"
#include "training/data/row_scanner.h"

namespace llava::training {
namespace {

void CheckRow(const Row& row) {
  LLAVA_CHECK(row.turns.size() >= 2 && row.turns.size() % 2 == 0);
  for (std::size_t i = 0; i < row.turns.size(); ++i) {
    LLAVA_CHECK(row.turns[i].speaker == (i % 2 == 0 ? Speaker::kHuman : Speaker::kGpt));
    LLAVA_CHECK(!row.turns[i].text.empty() && IsValidUtf8(row.turns[i].text));
    LLAVA_CHECK(row.turns[i].is_learned || row.turns[i].speaker == Speaker::kGpt);
  }
  for (const std::string& image : row.images) {
    LLAVA_CHECK(!image.empty() && image[0] != '/');
    const std::vector<std::string> steps = absl::StrSplit(image, '/');
    LLAVA_CHECK(std::find(steps.begin(), steps.end(), "..") == steps.end());
  }
  LLAVA_CHECK(CountWords(row) >= 1);
}

struct Scan {
  std::vector<std::pair<std::uint64_t, std::uint64_t>> places;  // offset, size
  absl::Status status;
};

Scan ScanInPieces(std::string_view text, std::size_t piece) {
  Scan scan;
  RowScanner scanner([&](const RowPlace& place, std::string_view bytes) {
    LLAVA_CHECK(bytes == text.substr(place.offset, place.size));
    scan.places.emplace_back(place.offset, place.size);
    return absl::OkStatus();
  });
  for (std::size_t i = 0; i < text.size() && scan.status.ok(); i += piece) {
    scan.status = scanner.Feed(text.substr(i, piece));
  }
  if (scan.status.ok()) scan.status = scanner.Finish();
  return scan;
}

}  // namespace
}  // namespace llava::training

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  namespace training = llava::training;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const training::Scan whole = training::ScanInPieces(text, std::max<std::size_t>(1, size));
  const training::Scan bytes = training::ScanInPieces(text, 1);
  LLAVA_CHECK(whole.status == bytes.status);
  LLAVA_CHECK(whole.places == bytes.places);
  for (const auto& [offset, length] : whole.places) {
    const auto row = training::ParseRow(text.substr(offset, length));
    if (const auto* good = std::get_if<training::Row>(&row)) {
      training::CheckRow(*good);
    } else {
      LLAVA_CHECK(!std::get<training::RowIssue>(row).why.empty());
    }
  }
  return 0;
}
