#include "base/digest.h"

#include "gtest/gtest.h"

namespace llava {
namespace {

TEST(DigestTest, IsSha256) {  // FIPS 180-2, appendix B.1
  EXPECT_EQ(Sha256Of("abc").Hex(),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

TEST(DigestTest, PiecesEqualTheWholeAndFinishStartsAgain) {
  Sha256 hash;
  EXPECT_EQ(hash.Update("a").Update("bc").Finish(), Sha256Of("abc"));
  EXPECT_EQ(hash.Update("abc").Finish(), Sha256Of("abc"));
}

}  // namespace
}  // namespace llava
