#include "training/data/byte_source.h"

#include <filesystem>
#include <fstream>
#include <string>
#include <utility>

#include "base/file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/temp_dir.h"
#include "zlib.h"

namespace llava::training {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

class ByteSourceTest : public ::testing::Test {
 protected:
  std::string Write(const std::string& name, const std::string& bytes) const {
    const std::string path = dir_.path() + "/" + name;
    std::ofstream(path, std::ios::binary) << bytes;
    return path;
  }

  std::string Gzip(const std::string& bytes) const {
    const std::string path = dir_.path() + "/gzip";
    gzFile file = gzopen(path.c_str(), "wb");
    gzwrite(file, bytes.data(), static_cast<unsigned>(bytes.size()));
    gzclose(file);
    return *ReadFile(path, std::size_t{1} << 30);
  }

  absl::StatusOr<FileDescriptor> Read(const std::string& path) {
    seen_.clear();
    Sha256 hash;
    auto file = ReadOnce(path, dir_.path(), &hash, [this](std::string_view piece) {
      seen_ += piece;
      return absl::OkStatus();
    });
    digest_ = hash.Finish();
    return file;
  }

  test::TempDir dir_;
  std::string seen_;
  Digest digest_;
};

// More than a piece of 1 MiB, with bytes that do not shrink to less than one.
std::string Large() {
  std::string bytes;
  std::uint32_t state = 1;
  while (bytes.size() < (std::size_t{5} << 19)) {
    state = state * 1664525 + 1013904223;
    bytes.push_back(static_cast<char>(state >> 24));
  }
  return bytes;
}

TEST_F(ByteSourceTest, HandsOutAndHashesAFileAsItIs) {
  const std::string bytes = Large();
  const auto file = Read(Write("plain", bytes));
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_TRUE(seen_ == bytes);
  EXPECT_EQ(digest_, Sha256Of(bytes));
  EXPECT_EQ(*ReadAt(*file, 3, 5), bytes.substr(3, 5));
}

TEST_F(ByteSourceTest, UnpacksGzipAndHashesWhatIsStored) {
  const std::string bytes = Large() + std::string(std::size_t{3} << 20, 'x');
  const std::string stored = Gzip(bytes);
  ASSERT_GT(stored.size(), std::size_t{1} << 20);
  const auto file = Read(Write("packed", stored));
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_TRUE(seen_ == bytes);
  EXPECT_EQ(digest_, Sha256Of(stored));
  EXPECT_EQ(*ReadAt(*file, bytes.size() - 2, 2), "xx");
  EXPECT_EQ(*ReadAt(*file, 1000, 20), bytes.substr(1000, 20));
  // The unpacked bytes have no name, so that a killed run leaves none behind.
  for (const auto& entry : fs::directory_iterator(dir_.path())) {
    EXPECT_EQ(entry.path().string().find("llava-data-"), std::string::npos) << entry.path();
  }
}

TEST_F(ByteSourceTest, TakesSeveralStreamsOneAfterAnother) {
  ASSERT_TRUE(Read(Write("two", Gzip("one, ") + Gzip("") + Gzip("two"))).ok());
  EXPECT_EQ(seen_, "one, two");
}

TEST_F(ByteSourceTest, ABrokenOrShortStreamIsADataLoss) {
  const std::string stored = Gzip(Large());
  std::string broken = stored;
  broken[broken.size() / 2] = static_cast<char>(broken[broken.size() / 2] ^ 0x55);
  broken[broken.size() - 6] = static_cast<char>(broken[broken.size() - 6] ^ 0x55);  // its CRC
  const absl::Status bad = Read(Write("broken", broken)).status();
  EXPECT_EQ(bad.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(bad.message()), HasSubstr("the gzip stream is broken"));
  for (const std::size_t cut : {stored.size() - 1, stored.size() / 2, std::size_t{2}}) {
    EXPECT_EQ(Read(Write("short", stored.substr(0, cut))).status(),
              absl::DataLossError("the gzip stream ends too early"))
        << cut;
  }
}

TEST_F(ByteSourceTest, StopsWhereItIsTold) {
  Sha256 hash;
  int pieces = 0;
  const auto stop = [&](std::string_view) {
    ++pieces;
    return absl::CancelledError("enough");
  };
  EXPECT_EQ(ReadOnce(Write("plain", Large()), "", &hash, stop).status(),
            absl::CancelledError("enough"));
  EXPECT_EQ(ReadOnce(Write("packed", Gzip(Large())), dir_.path(), &hash, stop).status(),
            absl::CancelledError("enough"));
  EXPECT_EQ(pieces, 2);
}

TEST_F(ByteSourceTest, ErrorsOfTheSystemNameThePath) {
  EXPECT_EQ(Read(dir_.path() + "/no").status().code(), absl::StatusCode::kNotFound);
  Sha256 hash;
  const std::string spool = dir_.path() + "/no-such-folder";
  const absl::Status status =
      ReadOnce(Write("packed", Gzip("x")), spool, &hash, [](std::string_view) {
        return absl::OkStatus();
      }).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(status.message()), HasSubstr(spool));
}

TEST_F(ByteSourceTest, ReadsNothingBeyondTheEnd) {
  const auto file = Read(Write("plain", "0123456789"));
  ASSERT_TRUE(file.ok());
  EXPECT_EQ(*ReadAt(*file, 0, 10), "0123456789");
  EXPECT_EQ(*ReadAt(*file, 10, 0), "");
  EXPECT_EQ(ReadAt(*file, 5, 6).status().code(), absl::StatusCode::kDataLoss);
}

}  // namespace
}  // namespace llava::training
