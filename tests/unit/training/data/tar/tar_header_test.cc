#include "training/data/tar/tar_header.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/tar_writer.h"

namespace llava::training {
namespace {

using test::PaxRecord;
using test::Summed;
using test::TarBlock;
using ::testing::HasSubstr;

TEST(TarHeaderTest, ReadsNameSizeAndType) {
  const auto header = ParseTarHeader(TarBlock("a/b.jpg", 1234));
  ASSERT_TRUE(header.ok() && header->has_value()) << header.status();
  EXPECT_EQ((*header)->name, "a/b.jpg");
  EXPECT_EQ((*header)->size, 1234u);
  EXPECT_EQ((*header)->type, '0');
  EXPECT_EQ((*ParseTarHeader(TarBlock("name", 0, '2')))->type, '2');
  EXPECT_EQ((*ParseTarHeader(TarBlock("folder/", 0, '\0')))->type, '5');
  EXPECT_EQ((*ParseTarHeader(TarBlock("file", 0, '\0')))->type, '0');
}

TEST(TarHeaderTest, ANameFillsItsFieldAndHasAPrefix) {
  const std::string name(100, 'n');
  EXPECT_EQ((*ParseTarHeader(TarBlock(name, 0)))->name, name);
  EXPECT_EQ((*ParseTarHeader(TarBlock(name, 0, '0', "pre/fix")))->name, "pre/fix/" + name);
  // GNU's header has times in the prefix's place.
  std::string gnu = TarBlock("x", 0, '0', "12345");
  gnu.replace(257, 8, "ustar  ", 8);
  EXPECT_EQ((*ParseTarHeader(Summed(gnu)))->name, "x");
}

TEST(TarHeaderTest, NumbersAreOctalOrBinary) {
  std::string block = TarBlock("x", 0);
  block.replace(124, 12, std::string("\x80\0\0\0\0\0\0\x02\0\0\0\x07", 12));
  EXPECT_EQ((*ParseTarHeader(Summed(block)))->size, (std::uint64_t{2} << 32) + 7);
  block.replace(124, 12, "     12345 \0", 12);
  EXPECT_EQ((*ParseTarHeader(Summed(block)))->size, 012345u);
  for (const std::string& wrong :
       {std::string("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", 12),  // -1
        std::string("\x80\0\0\0\xff\0\0\0\0\0\0\0", 12),                      // above 2^62
        std::string("\x80\x01\0\0\0\0\0\0\0\0\0\0", 12), std::string("00000000019\0", 12),
        std::string("0x000000000\0", 12), std::string("-0000000001\0", 12)}) {
    block.replace(124, 12, wrong);
    const auto header = ParseTarHeader(Summed(block));
    EXPECT_EQ(header.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(header.status().message()), HasSubstr("size"));
  }
}

TEST(TarHeaderTest, ABlockOfZerosIsTheEndAndAWrongSumIsNoHeader) {
  const auto end = ParseTarHeader(std::string(512, '\0'));
  ASSERT_TRUE(end.ok());
  EXPECT_FALSE(end->has_value());
  const std::string good = TarBlock("name", 5);
  for (std::size_t at = 0; at < 512; ++at) {
    std::string changed = good;
    if (at == 155) continue;  // behind the end of the sum
    changed[at] = static_cast<char>(changed[at] ^ 1);
    EXPECT_FALSE(ParseTarHeader(changed).ok()) << at;
  }
}

TEST(TarHeaderTest, ASumOfSignedBytesCountsToo) {
  std::string block = TarBlock("na\xefme", 5);
  int sum = 0;
  block.replace(148, 8, 8, ' ');
  for (const char c : block) sum += static_cast<signed char>(c);
  block.replace(148, 8, test::Octal(static_cast<unsigned>(sum), 7) + " ");
  EXPECT_TRUE(ParseTarHeader(block).ok());
}

TEST(PaxTest, ReadsPathAndSizeAmongOthers) {
  const std::string path = absl::StrCat(std::string(300, 'p'), "/\xC3\xA9=\n.jpg");
  const auto records =
      ParsePax(PaxRecord("mtime", "1.5") + PaxRecord("path", path) + PaxRecord("size", "77"));
  ASSERT_TRUE(records.ok()) << records.status();
  EXPECT_EQ(records->path, path);
  EXPECT_EQ(records->size, 77u);
  EXPECT_FALSE(records->is_sparse);
  EXPECT_TRUE(ParsePax(PaxRecord("GNU.sparse.major", "1"))->is_sparse);
  EXPECT_FALSE(ParsePax("")->path.has_value());
}

TEST(PaxTest, RefusesWhatIsNoRecord) {
  for (const char* text : {"x", "5", "99 a=b\n", "0 a=b\n", "6 a=b", "6 a=bc", "6 abcd\n", "3 \n",
                           "-6 a=b\n", "18446744073709551616 a=b\n", "6xa=bc\n"}) {
    EXPECT_EQ(ParsePax(text).status().code(), absl::StatusCode::kInvalidArgument) << text;
  }
  EXPECT_FALSE(ParsePax(PaxRecord("size", "-1")).ok());
  EXPECT_FALSE(ParsePax(PaxRecord("size", "9223372036854775807")).ok());
}

}  // namespace
}  // namespace llava::training
