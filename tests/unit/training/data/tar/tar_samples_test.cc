#include "training/data/tar/tar_samples.h"

#include <zlib.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/tar_writer.h"

namespace llava::training {
namespace {

using test::TarBlock;
using test::TarEnd;
using test::TarMember;
using ::testing::HasSubstr;

std::vector<TarSample> SamplesOf(const std::string& archive) {
  std::vector<TarSample> samples;
  TarSampleReader reader(100, [&](const TarSample& sample) {
    samples.push_back(sample);
    return absl::OkStatus();
  });
  absl::Status status = reader.Feed(archive + TarEnd());
  if (status.ok()) status = reader.Finish();
  EXPECT_TRUE(status.ok()) << status;
  return samples;
}

// What is wrong with the one sample of the archive: "member: why".
std::string WrongWith(const std::string& archive) {
  const std::vector<TarSample> samples = SamplesOf(archive);
  EXPECT_EQ(samples.size(), 1u);
  return samples.empty() ? "" : absl::StrCat(samples[0].member, ": ", samples[0].why);
}

TEST(TarSamplesTest, NeighboursOfOneNameAreASample) {
  const std::string archive =
      TarBlock("shard/", 0, '5') + TarMember("shard/000.json", "{}") +
      TarMember("shard/000.JPG", "picture") + TarMember("shard/000.left.png", "other") +
      TarMember("001.txt", "a cat") + TarMember("001.webp", "cat") + TarMember("002.json", "[]");
  const std::vector<TarSample> samples = SamplesOf(archive);
  ASSERT_EQ(samples.size(), 3u);
  EXPECT_EQ(samples[0].key, "shard/000");
  EXPECT_EQ(samples[0].bytes, "{}");
  EXPECT_FALSE(samples[0].is_caption);
  ASSERT_EQ(samples[0].pictures.size(), 2u);
  EXPECT_EQ(samples[0].pictures[1].name, "shard/000.left.png");
  const TarPart& picture = samples[0].pictures[0];
  EXPECT_EQ(archive.substr(picture.offset, picture.size), "picture");
  EXPECT_EQ(picture.crc, ::crc32(0, reinterpret_cast<const Bytef*>("picture"), 7));
  EXPECT_TRUE(samples[1].is_caption);
  EXPECT_EQ(samples[1].bytes, "a cat");
  EXPECT_EQ(archive.substr(samples[1].text.offset, samples[1].text.size), "a cat");
  EXPECT_TRUE(samples[2].pictures.empty());
  for (const TarSample& sample : samples) EXPECT_EQ(sample.why, "");
}

TEST(TarSamplesTest, AJsonSaysMoreThanATextAndOthersArePassedOver) {
  for (const bool json_first : {true, false}) {
    const std::string json = TarMember("0.json", "{}"), text = TarMember("0.txt", "said");
    const auto samples =
        SamplesOf((json_first ? json + text : text + json) + TarMember("0.npy", "n") +
                  TarMember("README", "r") + TarMember("._0.jpg", "a") +
                  TarMember("0.seg.json", "s") + TarMember("0.png", "p"));
    ASSERT_EQ(samples.size(), 1u);
    EXPECT_EQ(samples[0].bytes, "{}");
    EXPECT_FALSE(samples[0].is_caption);
    EXPECT_EQ(samples[0].pictures.size(), 1u);
    EXPECT_EQ(samples[0].why, "");
  }
}

TEST(TarSamplesTest, NamesTheMemberThatIsWrong) {
  const std::string good = TarMember("0.json", "{}");
  EXPECT_EQ(WrongWith(TarMember("0.jpg", "p")), "0: has no .json and no .txt beside its pictures");
  EXPECT_EQ(WrongWith(good + good), "0.json: is the second text beside 0.json");
  EXPECT_EQ(WrongWith(good + TarMember("0.mp4", "m")),
            "0.mp4: is of a kind that nobody would read");
  EXPECT_EQ(WrongWith(good + TarMember("0.tiff", "m")),
            "0.tiff: is of a kind that nobody would read");
  EXPECT_EQ(WrongWith(good + TarBlock("0.jpg", 0, '2')), "0.jpg: is a link, expected a file");
  EXPECT_EQ(WrongWith(TarMember("0.json", std::string(101, ' '))),
            "0.json: has 101 bytes, at most 100 are allowed");
  EXPECT_EQ(WrongWith(TarMember("../0.json", "{}")),
            "../0.json: has a name that leaves its folder");
  EXPECT_EQ(WrongWith(TarMember("/etc/0.json", "{}")),
            "/etc/0.json: has a name that leaves its folder");
  EXPECT_THAT(WrongWith(TarMember("a\nb.json", "{}")), HasSubstr("control characters"));
  EXPECT_THAT(WrongWith(test::PaxMember(absl::StrCat(std::string(2000, 'n'), ".json"), "{}")),
              HasSubstr("has a name of 2005 bytes"));
  std::string many = good;
  for (int i = 0; i < 300; ++i) many += TarMember(absl::StrCat("0.", i, ".jpg"), "p");
  EXPECT_EQ(WrongWith(many), "0.256.jpg: is one of more than 256 pictures of a sample");
}

TEST(TarSamplesTest, OneThatIsWrongSpoilsNoOther) {
  const auto samples =
      SamplesOf(TarMember("0.json", "{}") + TarBlock("0.jpg", 0, '2') + TarMember("1.json", "[]"));
  ASSERT_EQ(samples.size(), 2u);
  EXPECT_NE(samples[0].why, "");
  EXPECT_EQ(samples[1].why, "");
  EXPECT_EQ(samples[1].bytes, "[]");
}

}  // namespace
}  // namespace llava::training
