#include "training/data/instruction_dataset.h"

#include <zlib.h>

#include <filesystem>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status_macros.h"
#include "training/data/byte_source.h"
#include "training/data/row_scanner.h"

namespace llava::training {
namespace {

struct Place {
  std::uint64_t offset;
  std::uint32_t size;
  std::uint32_t file;
  std::uint32_t line;
  std::uint32_t crc;  // of the row's bytes
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

}  // namespace

struct InstructionDataset::Impl {
  std::vector<std::string> names;
  std::vector<std::string> images;  // folder of each file's; "": that of the whole data set
  std::vector<FileDescriptor> files;
  std::vector<Place> places;
  std::vector<std::int32_t> lengths;
  std::int64_t bad_rows = 0;
  std::vector<Digest> digests;  // of the files
  absl::Status stopped;         // the bad row that ended the pass; its message names the file

  absl::Status AddFile(const std::string& name, const DatasetOptions& options);
  absl::Status AddRow(const RowPlace& place, std::string_view bytes, const DatasetOptions& options);
};

absl::Status InstructionDataset::Impl::AddRow(const RowPlace& place, std::string_view bytes,
                                              const DatasetOptions& options) {
  std::variant<Row, RowIssue> parsed =
      place.size > kMaxRowBytes
          ? RowIssue{.why = absl::StrCat("has ", place.size, " bytes, at most ", kMaxRowBytes,
                                         " are allowed")}
          : ParseRow(bytes, {place.line, place.column});
  if (const Row* row = std::get_if<Row>(&parsed)) {
    const std::string& own = images.back();
    if (auto issue = CheckImages(*row, own.empty() ? options.images_dir : own)) {
      parsed = *std::move(issue);
    } else {
      const std::int32_t words = CountWords(*row);
      places.push_back({place.offset, static_cast<std::uint32_t>(place.size),
                        static_cast<std::uint32_t>(names.size() - 1),
                        static_cast<std::uint32_t>(place.line), Crc(bytes)});
      lengths.push_back(row->images.empty() ? -words : words);
      return absl::OkStatus();
    }
  }
  auto& issue = std::get<RowIssue>(parsed);
  issue.file = names.back();
  issue.line = place.line;
  ++bad_rows;
  if (options.on_issue) options.on_issue(issue);
  if (options.on_bad_row == OnBadRow::kStop) stopped = absl::InvalidArgumentError(issue.ToString());
  return stopped;
}

absl::Status InstructionDataset::Impl::AddFile(const std::string& name,
                                               const DatasetOptions& options) {
  Sha256 hash;
  names.push_back(name);
  const bool has_own = images.size() < options.file_images.size();
  images.push_back(has_own ? options.file_images[images.size()] : "");
  RowScanner scanner(
      [&](const RowPlace& place, std::string_view bytes) { return AddRow(place, bytes, options); });
  auto file = ReadOnce(name, options.spool_dir, &hash,
                       [&](std::string_view bytes) { return scanner.Feed(bytes); });
  RETURN_IF_ERROR(stopped);
  if (!file.ok()) return Annotate(file.status(), name);
  files.push_back(*std::move(file));
  const absl::Status finished = scanner.Finish();
  RETURN_IF_ERROR(stopped);
  digests.push_back(hash.Finish());
  return Annotate(finished, name);
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
  std::variant<Row, RowIssue> parsed = ParseRow(bytes);
  if (auto* row = std::get_if<Row>(&parsed)) {
    row->images_dir = impl_->images[FileOf(index)];
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
  const Place& place = impl_->places[static_cast<std::size_t>(index)];
  return absl::StrCat(impl_->names[place.file], ":", place.line);
}

}  // namespace llava::training
