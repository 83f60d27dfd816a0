#include "training/data/tar/tar_samples.h"

#include <zlib.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <iterator>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace llava::training {
namespace {

constexpr std::size_t kMaxPictures = 256;
constexpr std::size_t kMaxName = 1024;

constexpr std::array<std::string_view, 6> kPictures = {"jpg", "jpeg", "png", "webp", "gif", "bmp"};
// What looks like content that nobody would read.
constexpr std::array<std::string_view, 18> kUnread = {
    "tif", "tiff", "avif", "heic", "heif", "jp2",  "jxl", "svg", "mp4",
    "avi", "mov",  "mkv",  "webm", "mp3",  "flac", "wav", "ogg", "m4a"};

template <std::size_t N>
bool IsOneOf(std::string_view extension, const std::array<std::string_view, N>& list) {
  return std::find(list.begin(), list.end(), extension) != list.end();
}

// A name in its parts, in small letters behind the first dot. All empty: of no sample.
struct SplitName {
  std::string key = {};
  std::string extension = {};  // "left.jpg": another picture of the sample
  std::string kind = {};       // "jpg"
};

SplitName Split(const std::string& name) {
  const std::size_t slash = name.rfind('/');
  const std::size_t begin = slash == name.npos ? 0 : slash + 1;
  const std::size_t dot = name.find('.', begin);
  if (dot == name.npos || dot == begin) return {};
  const std::string extension = absl::AsciiStrToLower(name.substr(dot + 1));
  const std::size_t last = extension.rfind('.');
  return {name.substr(0, dot), extension,
          last == extension.npos ? extension : extension.substr(last + 1)};
}

std::string WrongName(const std::string& name) {
  if (name.size() > kMaxName) {
    return absl::StrCat("has a name of ", name.size(), " bytes, at most ", kMaxName,
                        " are allowed");
  }
  if (std::any_of(name.begin(), name.end(),
                  [](char c) { return absl::ascii_iscntrl(static_cast<unsigned char>(c)); })) {
    return "has control characters in its name";
  }
  const std::filesystem::path path(name);
  const bool leaves = path.is_absolute() || std::find(path.begin(), path.end(), "..") != path.end();
  return leaves ? "has a name that leaves its folder" : "";
}

std::uint32_t Crc(std::uint32_t before, std::string_view bytes) {
  return static_cast<std::uint32_t>(
      ::crc32_z(before, reinterpret_cast<const Bytef*>(bytes.data()), bytes.size()));
}

}  // namespace

TarSampleReader::TarSampleReader(std::uint64_t max_text, OnSample on_sample)
    : max_text_(max_text),
      on_sample_(std::move(on_sample)),
      scanner_({.begin = [this](const TarEntry& entry) { return Begin(entry); },
                .data = [this](std::string_view bytes) { return Data(bytes); },
                .end = [this] { return End(); }}) {}

void TarSampleReader::Refuse(const std::string& member, std::string why) {
  if (!sample_.why.empty()) return;  // the first reason counts
  sample_.why = std::move(why);
  sample_.member = member;
}

absl::Status TarSampleReader::Begin(const TarEntry& entry) {
  role_ = Role::kNone;
  if (entry.kind == TarEntry::Kind::kFolder) return absl::OkStatus();
  const SplitName split = Split(entry.name);
  if (split.key.empty()) return absl::OkStatus();
  const bool is_text = split.extension == "json" || split.extension == "txt";
  const bool is_picture = IsOneOf(split.kind, kPictures);
  const bool is_unread = IsOneOf(split.kind, kUnread);
  if (!is_text && !is_picture && !is_unread) return absl::OkStatus();
  if (!has_sample_ || sample_.key != split.key) {
    RETURN_IF_ERROR(EndSample());
    has_sample_ = true;
    sample_.key = split.key;
  }
  const std::string member = entry.name.substr(0, kMaxName);
  std::string wrong = WrongName(entry.name);
  if (wrong.empty() && is_unread) wrong = "is of a kind that nobody would read";
  if (wrong.empty() && entry.kind != TarEntry::Kind::kFile) {
    wrong = entry.kind == TarEntry::Kind::kLink ? "is a link, expected a file"
                                                : "is no file with all of its bytes";
  }
  if (!wrong.empty()) {
    Refuse(member, std::move(wrong));
  } else if (is_text) {
    BeginText(entry, split.extension == "txt");
  } else {
    BeginPicture(entry);
  }
  return absl::OkStatus();
}

// A .json says more than a .txt beside it.
void TarSampleReader::BeginText(const TarEntry& entry, bool is_caption) {
  const bool has_text = !sample_.text.name.empty();
  if (has_text && is_caption && !sample_.is_caption) return;
  if (has_text && is_caption == sample_.is_caption) {
    return Refuse(entry.name, absl::StrCat("is the second text beside ", sample_.text.name));
  }
  if (entry.size > max_text_) {
    return Refuse(entry.name,
                  absl::StrCat("has ", entry.size, " bytes, at most ", max_text_, " are allowed"));
  }
  sample_.text = {entry.name, entry.offset, entry.size, 0};
  sample_.is_caption = is_caption;
  sample_.bytes.clear();
  role_ = Role::kText;
}

void TarSampleReader::BeginPicture(const TarEntry& entry) {
  if (sample_.pictures.size() == kMaxPictures) {
    return Refuse(entry.name,
                  absl::StrCat("is one of more than ", kMaxPictures, " pictures of a sample"));
  }
  sample_.pictures.push_back({entry.name, entry.offset, entry.size, 0});
  role_ = Role::kPicture;
}

absl::Status TarSampleReader::Data(std::string_view bytes) {
  if (role_ == Role::kText) {
    sample_.bytes.append(bytes);
    sample_.text.crc = Crc(sample_.text.crc, bytes);
  } else if (role_ == Role::kPicture) {
    sample_.pictures.back().crc = Crc(sample_.pictures.back().crc, bytes);
  }
  return absl::OkStatus();
}

absl::Status TarSampleReader::End() {
  role_ = Role::kNone;
  return absl::OkStatus();
}

absl::Status TarSampleReader::EndSample() {
  if (!std::exchange(has_sample_, false)) return absl::OkStatus();
  const TarSample sample = std::exchange(sample_, {});
  if (!sample.why.empty() || !sample.text.name.empty()) return on_sample_(sample);
  TarSample lacking = sample;
  lacking.member = sample.key;
  lacking.why = "has no .json and no .txt beside its pictures";
  return on_sample_(lacking);
}

absl::Status TarSampleReader::Finish() {
  RETURN_IF_ERROR(scanner_.Finish());
  return EndSample();
}

}  // namespace llava::training
