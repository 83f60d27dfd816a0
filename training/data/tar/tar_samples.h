// WebDataset: a tar archive whose neighbours of one name are a sample: 000001.json beside
// 000001.jpg. The name counts up to its first dot, with the folders before it.
#ifndef LLAVA_TRAINING_DATA_TAR_TAR_SAMPLES_H_
#define LLAVA_TRAINING_DATA_TAR_TAR_SAMPLES_H_

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "training/data/tar/tar_scanner.h"

namespace llava::training {

// A part of the archive.
struct TarPart {
  std::string name = {};     // "shard/000001.jpg"
  std::uint64_t offset = 0;  // of its bytes in the archive
  std::uint64_t size = 0;
  std::uint32_t crc = 0;  // zlib's crc32 of them
};

struct TarSample {
  std::string key;                // "shard/000001"
  TarPart text;                   // a .json member, else a .txt one
  bool is_caption;                // it is a .txt
  std::string bytes;              // of the text
  std::vector<TarPart> pictures;  // in the order of the archive
  // Why it is no sample, and of which member that is said; else empty.
  std::string why;
  std::string member;
};

// Not thread-safe. Feed() the archive in pieces of any size, then Finish(). No more is in memory
// than one sample's text and the names of its pictures, all of which have bounds.
class TarSampleReader {
 public:
  using OnSample = std::function<absl::Status(const TarSample&)>;

  // A text of more than `max_text` bytes is what is wrong with its sample.
  TarSampleReader(std::uint64_t max_text, OnSample on_sample);

  // Pictures are .jpg, .jpeg, .png, .webp, .gif and .bmp. Wrong with a sample are: no text, two of
  // a kind, pictures of other formats, films and sounds, links and files with holes in place of one
  // of these, more than 256 pictures, names that leave their folder, have control characters or
  // more than 1024 bytes. Members of other kinds, or without a dot, are passed over. The errors of
  // TarScanner, and what `on_sample` returned.
  absl::Status Feed(std::string_view bytes) { return scanner_.Feed(bytes); }
  absl::Status Finish();

 private:
  enum class Role { kNone, kText, kPicture };

  absl::Status Begin(const TarEntry& entry);
  absl::Status Data(std::string_view bytes);
  absl::Status End();
  absl::Status EndSample();
  void Refuse(const std::string& member, std::string why);
  void BeginText(const TarEntry& entry, bool is_caption);
  void BeginPicture(const TarEntry& entry);

  const std::uint64_t max_text_;
  const OnSample on_sample_;
  TarScanner scanner_;
  bool has_sample_ = false;
  TarSample sample_;
  Role role_ = Role::kNone;  // of the member whose bytes come
};

}  // namespace llava::training

#endif  // LLAVA_TRAINING_DATA_TAR_TAR_SAMPLES_H_
