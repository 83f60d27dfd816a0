#include "training/data/byte_source.h"

#include <unistd.h>
#include <zlib.h>

#include <cerrno>
#include <cstdlib>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/status_macros.h"

namespace llava::training {
namespace {

constexpr std::size_t kPiece = std::size_t{1} << 20;
// With the first byte of a page or footer, so that no archive whose first member is named so is it.
constexpr std::string_view kParquet = "PAR1\x15";

absl::Status ErrnoStatus(const std::string& what) { return absl::ErrnoToStatus(errno, what); }

// The next piece from the descriptor's position; empty at the end.
absl::StatusOr<std::string_view> ReadPiece(const FileDescriptor& file, std::vector<char>* buffer) {
  ssize_t got;
  do {
    got = ::read(file.get(), buffer->data(), buffer->size());
  } while (got < 0 && errno == EINTR);
  if (got < 0) return ErrnoStatus("read");
  return std::string_view(buffer->data(), static_cast<std::size_t>(got));
}

absl::Status WriteAll(const FileDescriptor& file, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t put = ::write(file.get(), bytes.data(), bytes.size());
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return ErrnoStatus("writing the unpacked data");
    bytes.remove_prefix(static_cast<std::size_t>(put));
  }
  return absl::OkStatus();
}

absl::StatusOr<FileDescriptor> OpenSpool(std::string dir) {
  if (dir.empty()) {
    const char* tmp = std::getenv("TMPDIR");
    dir = tmp != nullptr ? tmp : "/tmp";
  }
  std::string name = dir + "/llava-data-XXXXXX";
  const int descriptor = ::mkstemp(name.data());
  if (descriptor < 0) return ErrnoStatus(name);
  ::unlink(name.c_str());
  return FileDescriptor(descriptor);
}

// Unpacks one gzip stream, or several one after another as gzip(1) allows.
class Inflater {
 public:
  Inflater() {
    stream_ = {};
    ok_ = inflateInit2(&stream_, 15 + 16) == Z_OK;  // 16: with gzip's header
  }
  ~Inflater() { inflateEnd(&stream_); }
  Inflater(const Inflater&) = delete;
  Inflater& operator=(const Inflater&) = delete;

  absl::Status Feed(std::string_view bytes,
                    const std::function<absl::Status(std::string_view)>& on_bytes) {
    if (!ok_) return absl::ResourceExhaustedError("zlib cannot start");
    stream_.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));
    stream_.avail_in = static_cast<uInt>(bytes.size());
    bool more = true;
    while (more || stream_.avail_in > 0) {
      if (ended_ && stream_.avail_in == 0) break;
      if (ended_) inflateReset(&stream_);
      stream_.next_out = reinterpret_cast<Bytef*>(out_.data());
      stream_.avail_out = static_cast<uInt>(out_.size());
      const int result = inflate(&stream_, Z_NO_FLUSH);
      if (result == Z_BUF_ERROR && stream_.avail_in == 0) break;
      if (result != Z_OK && result != Z_STREAM_END) {
        return absl::DataLossError(absl::StrCat(
            "the gzip stream is broken: ", stream_.msg != nullptr ? stream_.msg : "truncated"));
      }
      ended_ = result == Z_STREAM_END;
      more = stream_.avail_out == 0;
      RETURN_IF_ERROR(on_bytes(std::string_view(out_.data(), out_.size() - stream_.avail_out)));
    }
    return absl::OkStatus();
  }

  bool ended() const { return ended_; }

 private:
  z_stream stream_;
  std::vector<char> out_ = std::vector<char>(kPiece);
  bool ok_ = false;
  bool ended_ = false;
};

absl::StatusOr<FileDescriptor> UnpackOnce(
    const FileDescriptor& file, std::string_view piece, std::vector<char>* buffer,
    const std::string& spool_dir, Sha256* hash,
    const std::function<absl::Status(std::string_view)>& on_bytes) {
  ASSIGN_OR_RETURN(FileDescriptor spool, OpenSpool(spool_dir));
  const auto keep = [&](std::string_view unpacked) {
    RETURN_IF_ERROR(WriteAll(spool, unpacked));
    return on_bytes(unpacked);
  };
  Inflater inflater;
  while (!piece.empty()) {
    hash->Update(piece);
    RETURN_IF_ERROR(inflater.Feed(piece, keep));
    ASSIGN_OR_RETURN(piece, ReadPiece(file, buffer));
  }
  if (!inflater.ended()) return absl::DataLossError("the gzip stream ends too early");
  return spool;
}

}  // namespace

absl::StatusOr<std::string> ReadAt(const FileDescriptor& file, std::uint64_t offset,
                                   std::uint64_t size) {
  std::string bytes(size, '\0');
  std::size_t have = 0;
  while (have < bytes.size()) {
    const ssize_t got = ::pread(file.get(), bytes.data() + have, bytes.size() - have,
                                static_cast<off_t>(offset + have));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return ErrnoStatus("read");
    if (got == 0) return absl::DataLossError("the file has become shorter since it was opened");
    have += static_cast<std::size_t>(got);
  }
  return bytes;
}

absl::StatusOr<FileDescriptor> ReadOnce(
    const std::string& path, const std::string& spool_dir, Sha256* hash,
    const std::function<absl::Status(std::string_view)>& on_bytes) {
  ASSIGN_OR_RETURN(FileDescriptor file, OpenRegularFile(path));
  std::vector<char> buffer(kPiece);
  ASSIGN_OR_RETURN(std::string_view piece, ReadPiece(file, &buffer));
  if (piece.substr(0, 2) == "\x1f\x8b") {
    return UnpackOnce(file, piece, &buffer, spool_dir, hash, on_bytes);
  }
  if (piece.substr(0, kParquet.size()) == kParquet) {
    return absl::InvalidArgumentError(
        "is a Parquet file, which is not read: write its rows as JSON lines, one object a line, "
        "and "
        "its pictures as files");
  }
  while (!piece.empty()) {
    hash->Update(piece);
    RETURN_IF_ERROR(on_bytes(piece));
    ASSIGN_OR_RETURN(piece, ReadPiece(file, &buffer));
  }
  return file;
}

}  // namespace llava::training
