#include "server/scheduling/prefix_index.h"

#include <gtest/gtest.h>

#include <map>
#include <numeric>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/rng.h"
#include "server/scheduling/limits.h"

namespace llava::scheduling {
namespace {

std::vector<std::int32_t> Ids(int count, int first = 0) {
  std::vector<std::int32_t> ids(static_cast<std::size_t>(count));
  std::iota(ids.begin(), ids.end(), first);
  return ids;
}

ImageInput Image(const char* name, int offset, int count) {
  ImageInput image;
  image.digest = Sha256Of(name);
  image.offset = offset;
  image.count = count;
  return image;
}

class BlockNamerTest : public ::testing::Test {
 protected:
  Digest Name(const std::vector<std::int32_t>& ids, const std::vector<ImageInput>& images = {},
              const Digest& parent = Sha256Of("version"), int block = 0) {
    return namer_.Name(parent, block, ids, images);
  }
  BlockNamer namer_;
};

TEST_F(BlockNamerTest, DependsOnParentAndTokens) {
  const Digest name = Name(Ids(16));
  EXPECT_EQ(name, Name(Ids(16)));
  EXPECT_EQ(name, Name(Ids(40)));  // later tokens do not matter
  EXPECT_NE(name, Name(Ids(16, 1)));
  EXPECT_NE(name, Name(Ids(16), {}, Sha256Of("another version")));
}

TEST_F(BlockNamerTest, TheRootDependsOnVersionAndDomain) {
  const Digest v1 = Sha256Of("v1"), alice = Sha256Of("alice");
  const Digest root = namer_.Root(v1, Digest{}, alice);
  EXPECT_EQ(root, namer_.Root(v1, Digest{}, alice));
  EXPECT_NE(root, namer_.Root(v1, Sha256Of("adapter"), alice));
  EXPECT_NE(root, namer_.Root(Sha256Of("v2"), Digest{}, alice));
  EXPECT_NE(root, namer_.Root(v1, Digest{}, Sha256Of("bob")));
  EXPECT_NE(root, namer_.Root(v1, Digest{}, Digest{}));
  EXPECT_NE(root, namer_.Root(alice, Digest{}, v1));
}

TEST_F(BlockNamerTest, DependsOnTheImageAndThePlaceInIt) {
  const auto ids = Ids(32);
  const Digest name = Name(ids, {Image("cat", 4, 8)});
  EXPECT_NE(name, Name(ids));
  EXPECT_NE(name, Name(ids, {Image("dog", 4, 8)}));
  EXPECT_NE(name, Name(ids, {Image("cat", 5, 8)}));
  EXPECT_NE(name, Name(ids, {Image("cat", 4, 9)}));
  // The same rows of the same image, begun in an earlier block or not.
  EXPECT_NE(Name(ids, {Image("cat", 0, 32)}, Sha256Of("p"), 1),
            Name(ids, {Image("cat", 16, 16)}, Sha256Of("p"), 1));
}

TEST_F(BlockNamerTest, TwoImagesAreNotOneAndTheirOrderMatters) {
  const auto ids = Ids(16);
  const Digest cat_dog = Name(ids, {Image("cat", 0, 4), Image("dog", 4, 4)});
  EXPECT_NE(cat_dog, Name(ids, {Image("dog", 0, 4), Image("cat", 4, 4)}));
  EXPECT_NE(cat_dog, Name(ids, {Image("cat", 0, 8)}));
}

TEST_F(BlockNamerTest, TheIdOfAnImageTokenDoesNotMatter) {
  auto other = Ids(16);
  other[5] = 32000;
  EXPECT_EQ(Name(Ids(16), {Image("cat", 4, 8)}), Name(other, {Image("cat", 4, 8)}));
}

TEST(PrefixIndexTest, FindsWhatWasInserted) {
  PrefixIndex index(4);
  const Digest name = Sha256Of("a");
  EXPECT_EQ(index.Find(name), std::nullopt);
  EXPECT_TRUE(index.Insert(name, BlockId(2)));
  EXPECT_FALSE(index.Insert(name, BlockId(3)));
  EXPECT_EQ(index.Find(name), BlockId(2));
  index.Erase(BlockId(2));
  EXPECT_EQ(index.Find(name), std::nullopt);
  EXPECT_EQ(index.size(), 0u);
}

// Names whose hashes collide on purpose: the probing and the erasing are what is tested.
Digest Colliding(int hash, int number) {
  Digest name;
  name.bytes[0] = static_cast<std::uint8_t>(hash);
  name.bytes[20] = static_cast<std::uint8_t>(number);
  return name;
}

TEST(PrefixIndexTest, RandomOperationsMatchAMap) {
  Rng rng(11);
  constexpr int kBlocks = 20;
  PrefixIndex index(kBlocks);
  std::map<Digest, BlockId> model;
  std::vector<std::optional<Digest>> names(kBlocks);
  for (int step = 0; step < 50000; ++step) {
    const auto block = rng.Below(kBlocks);
    if (names[block]) {
      index.Erase(BlockId(static_cast<std::int32_t>(block)));
      model.erase(*names[block]);
      names[block].reset();
    } else {
      const Digest name =
          Colliding(static_cast<int>(rng.Below(6)) * 12, static_cast<int>(rng.Below(8)));
      const bool inserted = index.Insert(name, BlockId(static_cast<std::int32_t>(block)));
      ASSERT_EQ(inserted, !model.contains(name));
      if (inserted) {
        model[name] = BlockId(static_cast<std::int32_t>(block));
        names[block] = name;
      }
    }
    ASSERT_EQ(index.size(), model.size());
    const Digest probe =
        Colliding(static_cast<int>(rng.Below(6)) * 12, static_cast<int>(rng.Below(8)));
    const auto expected = model.find(probe);
    ASSERT_EQ(index.Find(probe),
              expected == model.end() ? std::nullopt : std::optional(expected->second));
  }
}

}  // namespace
}  // namespace llava::scheduling
