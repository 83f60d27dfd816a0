#include "base/byte_reader.h"

#include <gtest/gtest.h>

#include <string_view>

namespace llava {
namespace {

using Order = ByteReader::Order;
using std::string_view_literals::operator""sv;

TEST(ByteReader, ReadsNumbersInBothOrders) {
  const std::string_view bytes = "\x01\x02\x03\x04\x05\x06\x07\x08"sv;
  ByteReader little(bytes);
  EXPECT_EQ(little.U8(), 0x01u);
  EXPECT_EQ(little.U16(), 0x0302u);
  EXPECT_EQ(little.U24(), 0x060504u);
  EXPECT_EQ(little.remaining(), 2u);
  ByteReader big(bytes, Order::kBig);
  EXPECT_EQ(big.U32(), 0x01020304u);
  EXPECT_EQ(big.position(), 4u);
  big.Seek(0);
  EXPECT_EQ(big.U64(), 0x0102030405060708u);
  EXPECT_TRUE(big.ok());
}

TEST(ByteReader, HighBytesAreNotSigned) {
  EXPECT_EQ(ByteReader("\xff\xfe"sv, Order::kBig).U16(), 0xfffeu);
  EXPECT_EQ(ByteReader("\xff\xff\xff\xff\xff\xff\xff\xff"sv).U64(), ~std::uint64_t{0});
}

// Every way of going beyond the end, from inside and from the end itself.
TEST(ByteReader, BeyondTheEndFailsForGood) {
  const auto check = [](void (*read)(ByteReader&)) {
    ByteReader reader("abcd");
    read(reader);
    EXPECT_FALSE(reader.ok());
    EXPECT_EQ(reader.remaining(), 0u);
    EXPECT_EQ(reader.U8(), 0u);
    EXPECT_EQ(reader.Take(1), "");
    reader.Seek(0);
    EXPECT_EQ(reader.Take(1), "");
    EXPECT_FALSE(reader.ok());
  };
  check([](ByteReader& r) { r.Skip(8); });
  check([](ByteReader& r) { r.Skip(~std::uint64_t{0}); });
  check([](ByteReader& r) { r.Take(5); });
  check([](ByteReader& r) { r.Seek(5); });
  check([](ByteReader& r) { r.U64(); });
  check([](ByteReader& r) { r.TakeLine(); });
  check([](ByteReader& r) {
    r.Skip(2);
    r.U24();
  });
}

TEST(ByteReader, TheEndItselfIsInside) {
  ByteReader reader("abcd");
  reader.Seek(4);
  EXPECT_EQ(reader.Take(0), "");
  EXPECT_TRUE(reader.ok());
  reader.Seek(1);
  EXPECT_EQ(reader.Take(3), "bcd");
  EXPECT_TRUE(reader.ok());
}

TEST(ByteReader, LinesAreTakenWithoutTheirEnd) {
  ByteReader reader("one\n\ntwo");
  EXPECT_EQ(reader.TakeLine(), "one");
  EXPECT_EQ(reader.TakeLine(), "");
  EXPECT_TRUE(reader.ok());
  EXPECT_EQ(reader.TakeLine(), "");  // "two" has no end
  EXPECT_FALSE(reader.ok());
}

}  // namespace
}  // namespace llava
