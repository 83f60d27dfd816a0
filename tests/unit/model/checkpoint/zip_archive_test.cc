#include "model/checkpoint/zip_archive.h"

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace llava::model {
namespace {

using testing::HasSubstr;

std::string Number(std::uint64_t value, int bytes) {
  std::string out;
  for (int i = 0; i < bytes; ++i) out.push_back(static_cast<char>(value >> (8 * i)));
  return out;
}

// An archive of stored records, each with a name and bytes.
struct Options {
  std::uint16_t method = 0;
  std::uint16_t flags = 0;
  bool zip64 = false;
};

std::string Zip(const std::vector<std::pair<std::string, std::string>>& records,
                const Options& options = {}) {
  std::string out;
  std::string directory;
  for (const auto& [name, bytes] : records) {
    const std::uint64_t size = bytes.size();
    const std::string sizes = options.zip64 ? Number(0xFFFFFFFF, 4) + Number(0xFFFFFFFF, 4)
                                            : Number(size, 4) + Number(size, 4);
    const std::string extra = options.zip64 ? Number(1, 2) + Number(24, 2) + Number(size, 8) +
                                                  Number(size, 8) + Number(out.size(), 8)
                                            : "";
    const std::string local = options.zip64 ? Number(0xFFFFFFFF, 4) : Number(out.size(), 4);
    directory += "PK\x01\x02" + Number(0, 4) + Number(options.flags, 2) +
                 Number(options.method, 2) + Number(0, 8) + sizes + Number(name.size(), 2) +
                 Number(extra.size(), 2) + Number(0, 2) + Number(0, 8) + local + name + extra;
    out += "PK\x03\x04" + Number(0, 22) + Number(name.size(), 2) + Number(0, 2) + name + bytes;
  }
  const std::uint64_t start = out.size();
  out += directory;
  return out + "PK\x05\x06" + Number(0, 4) + Number(records.size(), 2) + Number(records.size(), 2) +
         Number(directory.size(), 4) + Number(start, 4) + Number(0, 2);
}

TEST(ZipArchiveTest, RecordsByName) {
  for (const bool zip64 : {false, true}) {
    const std::string file = Zip({{"a/data.pkl", "pickle"}, {"a/0", ""}}, {.zip64 = zip64});
    EXPECT_TRUE(LooksLikeZip(file));
    const auto records = ReadZip(file);
    ASSERT_TRUE(records.ok()) << records.status();
    EXPECT_EQ(records->size(), 2u);
    EXPECT_EQ(records->at("a/data.pkl"), "pickle");
    EXPECT_EQ(records->at("a/0"), "");
  }
  EXPECT_FALSE(LooksLikeZip("PK"));
  EXPECT_TRUE(ReadZip(Zip({}))->empty());
}

TEST(ZipArchiveTest, OnlyStoredRecords) {
  for (const Options& options : {Options{.method = 8}, Options{.flags = 1}}) {
    const auto records = ReadZip(Zip({{"x", "1"}}, options));
    EXPECT_EQ(records.status().code(), absl::StatusCode::kUnimplemented);
    EXPECT_THAT(std::string(records.status().message()), HasSubstr("\"x\""));
  }
}

TEST(ZipArchiveTest, ANameComesOnce) {
  const auto records = ReadZip(Zip({{"x", "1"}, {"x", "2"}}));
  EXPECT_EQ(records.status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(ZipArchiveTest, DamageIsAnErrorAndNothingIsReadOutside) {
  const std::string whole = Zip({{"a", "first"}, {"b", "second"}});
  for (std::size_t size = 0; size < whole.size(); ++size) {
    EXPECT_FALSE(ReadZip(std::string_view(whole).substr(0, size)).ok()) << size;
  }
  for (std::size_t at = 0; at < whole.size(); ++at) {
    for (const int byte : {0x00, 0x7F, 0xFF}) {
      std::string damaged = whole;
      damaged[at] = static_cast<char>(byte);
      const auto records = ReadZip(damaged);
      if (!records.ok()) continue;
      for (const auto& [name, bytes] : *records) {
        EXPECT_GE(bytes.data(), damaged.data());
        EXPECT_LE(bytes.data() + bytes.size(), damaged.data() + damaged.size());
      }
    }
  }
}

}  // namespace
}  // namespace llava::model
