#include "training/data/instruction_dataset.h"

#include <zlib.h>

#include <filesystem>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "base/check.h"
#include "base/status_macros.h"
#include "training/data/byte_source.h"
#include "training/data/row_scanner.h"
#include "training/data/tar/picture_file.h"
#include "training/data/tar/tar_samples.h"

namespace llava::training {
namespace {

struct Place {
  std::uint64_t offset;
  std::uint32_t size;
  std::uint32_t file;
  std::uint32_t line;  // of a tar: the row's number among tar_rows
  std::uint32_t crc;   // of the row's bytes
};

// What else is known of a row in a tar.
struct TarRow {
  std::string member;    // that has its text
  std::string pictures;  // PathInTar of each, a line each
  bool is_caption;
};

std::uint32_t Crc(std::string_view bytes) {
  return static_cast<std::uint32_t>(
      ::crc32_z(0, reinterpret_cast<const Bytef*>(bytes.data()), bytes.size()));
}

std::optional<RowIssue> CheckImages(const Row& row, const std::string& dir) {
  if (dir.empty()) return std::nullopt;
  for (const std::string& image : row.images) {
    std::error_code error;
    if (!std::filesystem::is_regular_file(std::filesystem::path(dir) / image, error)) {
      return RowIssue{.id = row.id,
                      .field = "image",
                      .why = absl::StrCat("is '", image, "', which is not a file in ", dir)};
    }
  }
  return std::nullopt;
}

std::vector<PictureBeside> BesideOf(const TarRow& row) {
  std::vector<PictureBeside> beside;
  for (const absl::string_view path : absl::StrSplit(row.pictures, '\n', absl::SkipEmpty())) {
    beside.push_back({std::string(path.substr(path.find('/') + 1)), std::string(path)});
  }
  return beside;
}

std::variant<Row, RowIssue> ParseTarRow(const TarRow& row, std::string_view bytes) {
  if (!row.is_caption) return ParseRow(bytes, BesideOf(row));
  return CaptionRow(row.member.substr(0, row.member.rfind('.')), bytes, BesideOf(row));
}

}  // namespace

struct InstructionDataset::Impl {
  std::vector<std::string> names;
  std::vector<std::string> images;  // folder of each file's; "": that of the whole data set
  std::vector<FileDescriptor> files;
  std::vector<Place> places;
  std::vector<TarRow> tar_rows;
  std::vector<std::int32_t> lengths;
  std::int64_t bad_rows = 0;
  std::vector<Digest> digests;  // of the files
  absl::Status stopped;         // the bad row that ended the pass; its message names the file

  absl::Status AddFile(const std::string& name, const DatasetOptions& options);
  absl::Status AddRows(const std::string& name, const DatasetOptions& options, Sha256* hash);
  absl::Status AddSamples(const std::string& name, const DatasetOptions& options, Sha256* hash);
  absl::Status AddRow(const RowPlace& place, std::string_view bytes, const DatasetOptions& options);
  absl::Status AddSample(const TarSample& sample, const DatasetOptions& options);
  void Keep(const Row& row, Place place);
  absl::Status Refuse(const RowIssue& issue, const DatasetOptions& options);

  bool IsInTarFile(const Place& place) const { return IsTar(names[place.file]); }
  std::string Describe(const Place& place) const;
};

void InstructionDataset::Impl::Keep(const Row& row, Place place) {
  const std::int32_t words = CountWords(row);
  place.file = static_cast<std::uint32_t>(names.size() - 1);
  places.push_back(place);
  lengths.push_back(row.images.empty() ? -words : words);
}

absl::Status InstructionDataset::Impl::Refuse(const RowIssue& issue,
                                              const DatasetOptions& options) {
  ++bad_rows;
  if (options.on_issue) options.on_issue(issue);
  if (options.on_bad_row == OnBadRow::kStop) stopped = absl::InvalidArgumentError(issue.ToString());
  return stopped;
}

std::string InstructionDataset::Impl::Describe(const Place& place) const {
  if (!IsInTarFile(place)) return absl::StrCat(names[place.file], ":", place.line);
  return absl::StrCat(names[place.file], ": ", tar_rows[place.line].member);
}

absl::Status InstructionDataset::Impl::AddRow(const RowPlace& place, std::string_view bytes,
                                              const DatasetOptions& options) {
  std::variant<Row, RowIssue> parsed =
      place.size > kMaxRowBytes
          ? RowIssue{.why = absl::StrCat("has ", place.size, " bytes, at most ", kMaxRowBytes,
                                         " are allowed")}
          : ParseRow(bytes, {place.line, place.column});
  if (const Row* row = std::get_if<Row>(&parsed)) {
    const std::string& own = images.back();
    auto issue = CheckImages(*row, own.empty() ? options.images_dir : own);
    if (!issue.has_value()) {
      Keep(*row, {place.offset, static_cast<std::uint32_t>(place.size), 0,
                  static_cast<std::uint32_t>(place.line), Crc(bytes)});
      return absl::OkStatus();
    }
    parsed = *std::move(issue);
  }
  auto& issue = std::get<RowIssue>(parsed);
  issue.file = names.back();
  issue.line = place.line;
  return Refuse(issue, options);
}

absl::Status InstructionDataset::Impl::AddSample(const TarSample& sample,
                                                 const DatasetOptions& options) {
  const auto refuse = [&](RowIssue issue, const std::string& member) {
    issue.file = absl::StrCat(names.back(), ": ", member);
    return Refuse(issue, options);
  };
  if (!sample.why.empty()) return refuse({.why = sample.why}, sample.member);
  std::vector<std::string> paths;
  for (const TarPart& picture : sample.pictures) paths.push_back(PathInTar(picture));
  TarRow row{sample.text.name, absl::StrJoin(paths, "\n"), sample.is_caption};
  std::variant<Row, RowIssue> parsed = ParseTarRow(row, sample.bytes);
  if (auto* issue = std::get_if<RowIssue>(&parsed)) {
    return refuse(std::move(*issue), sample.text.name);
  }
  Keep(std::get<Row>(parsed), {sample.text.offset, static_cast<std::uint32_t>(sample.text.size), 0,
                               static_cast<std::uint32_t>(tar_rows.size()), sample.text.crc});
  tar_rows.push_back(std::move(row));
  return absl::OkStatus();
}

absl::Status InstructionDataset::Impl::AddRows(const std::string& name,
                                               const DatasetOptions& options, Sha256* hash) {
  RowScanner scanner(
      [&](const RowPlace& place, std::string_view bytes) { return AddRow(place, bytes, options); });
  auto file = ReadOnce(name, options.spool_dir, hash,
                       [&](std::string_view bytes) { return scanner.Feed(bytes); });
  RETURN_IF_ERROR(file.status());
  files.push_back(*std::move(file));
  return scanner.Finish();
}

// The pictures are in the archive: their paths are below its own.
absl::Status InstructionDataset::Impl::AddSamples(const std::string& name,
                                                  const DatasetOptions& options, Sha256* hash) {
  ASSIGN_OR_RETURN(const FileDescriptor stored, OpenRegularFile(name));
  const absl::StatusOr<std::string> magic = ReadAt(stored, 0, 2);
  if (magic.ok() && *magic == "\x1f\x8b") {
    return absl::InvalidArgumentError(
        "is gzip'd, expected a plain tar: pictures are read where they stand in it");
  }
  images.back() = name;
  TarSampleReader reader(kMaxRowBytes,
                         [&](const TarSample& sample) { return AddSample(sample, options); });
  auto file = ReadOnce(name, options.spool_dir, hash,
                       [&](std::string_view bytes) { return reader.Feed(bytes); });
  RETURN_IF_ERROR(file.status());
  files.push_back(*std::move(file));
  return reader.Finish();
}

absl::Status InstructionDataset::Impl::AddFile(const std::string& name,
                                               const DatasetOptions& options) {
  Sha256 hash;
  names.push_back(name);
  const bool has_own = images.size() < options.file_images.size();
  images.push_back(has_own ? options.file_images[images.size()] : "");
  const absl::Status added =
      IsTar(name) ? AddSamples(name, options, &hash) : AddRows(name, options, &hash);
  RETURN_IF_ERROR(stopped);
  digests.push_back(hash.Finish());
  return Annotate(added, name);
}

InstructionDataset::InstructionDataset(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
InstructionDataset::InstructionDataset(InstructionDataset&&) noexcept = default;
InstructionDataset& InstructionDataset::operator=(InstructionDataset&&) noexcept = default;
InstructionDataset::~InstructionDataset() = default;

absl::StatusOr<InstructionDataset> InstructionDataset::Open(const std::vector<std::string>& files,
                                                            const DatasetOptions& options) {
  auto impl = std::make_unique<Impl>();
  for (const std::string& name : files) RETURN_IF_ERROR(impl->AddFile(name, options));
  if (impl->places.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("no good row in ", files.empty() ? "an empty list of files" : files.front(),
                     " (", impl->bad_rows, " bad rows)"));
  }
  return InstructionDataset(std::move(impl));
}

std::int64_t InstructionDataset::size() const {
  return static_cast<std::int64_t>(impl_->places.size());
}
std::int64_t InstructionDataset::bad_rows() const { return impl_->bad_rows; }
const std::vector<std::int32_t>& InstructionDataset::lengths() const { return impl_->lengths; }
const std::vector<Digest>& InstructionDataset::digests() const { return impl_->digests; }

absl::StatusOr<std::string> InstructionDataset::ReadText(std::int64_t index) const {
  LLAVA_CHECK(index >= 0 && index < size());
  const Place& place = impl_->places[static_cast<std::size_t>(index)];
  auto bytes = ReadAt(impl_->files[place.file], place.offset, place.size);
  if (!bytes.ok()) return Annotate(bytes.status(), Describe(index));
  if (Crc(*bytes) != place.crc) {
    return absl::DataLossError(
        absl::StrCat(Describe(index), ": the file has changed since it was opened"));
  }
  return bytes;
}

absl::StatusOr<Row> InstructionDataset::Read(std::int64_t index) const {
  ASSIGN_OR_RETURN(const std::string bytes, ReadText(index));
  const Place& place = impl_->places[static_cast<std::size_t>(index)];
  std::variant<Row, RowIssue> parsed =
      impl_->IsInTarFile(place) ? ParseTarRow(impl_->tar_rows[place.line], bytes) : ParseRow(bytes);
  if (auto* row = std::get_if<Row>(&parsed)) {
    row->images_dir = impl_->images[place.file];
    return std::move(*row);
  }
  return absl::DataLossError(
      absl::StrCat(Describe(index),
                   ": the file has changed since it was opened: ", std::get<RowIssue>(parsed).why));
}

std::size_t InstructionDataset::FileOf(std::int64_t index) const {
  LLAVA_CHECK(index >= 0 && index < size());
  return impl_->places[static_cast<std::size_t>(index)].file;
}

std::string InstructionDataset::Describe(std::int64_t index) const {
  LLAVA_CHECK(index >= 0 && index < size());
  return impl_->Describe(impl_->places[static_cast<std::size_t>(index)]);
}

}  // namespace llava::training
