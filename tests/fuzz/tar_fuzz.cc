// Any archive: found alike in one piece and byte by byte, and every part of a sample stands in it
// with the bytes that its checksum is of.
#include <zlib.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/check.h"
#include "training/data/tar/picture_file.h"
#include "training/data/tar/tar_samples.h"

namespace llava::training {
namespace {

constexpr std::uint64_t kMaxText = 4096;

struct Found {
  std::vector<std::string> parts;
  absl::Status status;
};

void AddPart(std::string_view archive, const TarPart& part, Found* found) {
  LLAVA_CHECK(part.offset <= archive.size() && part.size <= archive.size() - part.offset);
  const std::string_view bytes = archive.substr(part.offset, part.size);
  LLAVA_CHECK_EQ(part.crc, ::crc32_z(0, reinterpret_cast<const Bytef*>(bytes.data()), part.size));
  LLAVA_CHECK(IsInTar("x.tar/" + PathInTar(part)));
  found->parts.push_back(PathInTar(part));
}

Found FindInPieces(std::string_view archive, std::size_t piece) {
  Found found;
  TarSampleReader reader(kMaxText, [&](const TarSample& sample) {
    found.parts.push_back(sample.key + " " + sample.member + " " + sample.why);
    if (!sample.why.empty()) return absl::OkStatus();
    AddPart(archive, sample.text, &found);
    LLAVA_CHECK(sample.bytes == archive.substr(sample.text.offset, sample.text.size));
    for (const TarPart& picture : sample.pictures) AddPart(archive, picture, &found);
    return absl::OkStatus();
  });
  for (std::size_t i = 0; i < archive.size() && found.status.ok(); i += piece) {
    found.status = reader.Feed(archive.substr(i, piece));
  }
  if (found.status.ok()) found.status = reader.Finish();
  return found;
}

}  // namespace
}  // namespace llava::training

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  namespace training = llava::training;
  const std::string_view archive(reinterpret_cast<const char*>(data), size);
  const training::Found whole = training::FindInPieces(archive, std::max<std::size_t>(1, size));
  const training::Found bytes = training::FindInPieces(archive, 1);
  LLAVA_CHECK(whole.status == bytes.status);
  LLAVA_CHECK(whole.parts == bytes.parts);
  return 0;
}
