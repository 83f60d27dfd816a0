#include "server/torch/image_encoder.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/tensor.h>
#include <c10/core/InferenceMode.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "model/config/image_layout.h"
#include "tests/support/checkpoint_fixture.h"
#include "tests/support/prepared_pixels.h"

namespace llava::engine {
namespace {

using scheduling::EncodeImage;
using scheduling::EncodeSlice;
using scheduling::FeatureId;
using scheduling::ImageInput;

// Checkpoints of families: a tile a picture, several, and several of which a part is kept; features
// of one layer and of several.
class ImageEncoderTest : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    const std::string golden = model::GoldenCheckpointDir();
    const std::string family = GetParam();
    auto llava = model::Llava::Load(
        family.empty() ? golden : golden + "/../families/" + family + "/checkpoint",
        {.pack = true});
    ASSERT_TRUE(llava.ok()) << llava.status();
    llava_ = *std::move(llava);
    parts_ = ImageEncoder::Parts(*llava_);
    ASSERT_GT(parts_, 2);
  }

  ImageInput Picture(int width, int height, int seed) const {
    const int side = llava_->config().vision.image_size;
    const model::ImageLayout layout = model::LayoutOf(llava_->config(), {width, height});
    ImageInput image;
    image.digest = Sha256Of("image");
    image.count = layout.tokens;
    image.height = image.width = side;
    image.tiles = layout.tiles;
    image.picture_height = height;
    image.picture_width = width;
    test::FillPixels(image, static_cast<std::uint64_t>(seed));
    return image;
  }

  void Encode(const std::vector<EncodeImage>& encodes) {
    const c10::InferenceMode inference;
    const absl::Status status = encoder_.Encode(encodes, *llava_);
    EXPECT_TRUE(status.ok()) << status;
  }

  static EncodeImage All(FeatureId feature, const ImageInput& image, int of = 1) {
    return {feature, &image, {0, image.tiles, 0, of, of}};
  }

  std::unique_ptr<model::Llava> llava_;
  ImageEncoder encoder_{model::StepBuffer(at::kCPU)};
  int parts_ = 0;
};

TEST_P(ImageEncoderTest, SlicesGiveTheBitsOfOneGo) {
  const ImageInput picture = Picture(200, 150, 1);
  const FeatureId whole(1);
  Encode({All(whole, picture)});
  const at::Tensor expected = encoder_.feature(whole);
  EXPECT_EQ(expected.size(0), picture.count);
  std::uint64_t id = 1;
  // Parts as the model has them, and as another version's might be counted.
  for (const int of : {parts_, parts_ - 1, 2 * parts_ + 1}) {
    for (const int parts : {1, 3, of, of + 2}) {
      const FeatureId feature(++id);
      for (int done = 0; done < picture.tiles * of;) {
        const int first = done % of;
        const int count = std::min(parts, of - first);
        EXPECT_EQ(encoder_.unfinished(), done == 0 ? 0u : 1u);
        Encode({{feature, &picture, {done / of, 1, first, count, of}}});
        done += count;
      }
      EXPECT_EQ(encoder_.unfinished(), 0u);
      EXPECT_TRUE(at::equal(encoder_.feature(feature), expected)) << parts << " of " << of;
    }
  }
}

// The end of a tile that is begun, whole tiles and the beginning of one, beside other pictures.
TEST_P(ImageEncoderTest, OneStepMayHaveSeveralSlicesOfSeveralPictures) {
  const ImageInput picture = Picture(200, 150, 1);
  const ImageInput other = Picture(90, 300, 2);
  const FeatureId a(1), b(2), sliced(3), beside(4);
  Encode({All(a, picture), All(b, other)});
  Encode({{sliced, &picture, {0, 1, 0, 2, parts_}}});
  std::vector<EncodeImage> step = {{sliced, &picture, {0, 1, 2, parts_ - 2, parts_}}};
  if (picture.tiles > 2) {
    step.push_back({sliced, &picture, {1, picture.tiles - 2, 0, parts_, parts_}});
  }
  step.push_back(All(beside, other, parts_));
  if (picture.tiles > 1) step.push_back({sliced, &picture, {picture.tiles - 1, 1, 0, 1, parts_}});
  Encode(step);
  if (picture.tiles > 1) {
    EXPECT_EQ(encoder_.unfinished(), 1u);
    Encode({{sliced, &picture, {picture.tiles - 1, 1, 1, parts_ - 1, parts_}}});
  }
  EXPECT_TRUE(at::equal(encoder_.feature(sliced), encoder_.feature(a)));
  EXPECT_TRUE(at::equal(encoder_.feature(beside), encoder_.feature(b)));
}

// As a recorded tower does it: each result takes the place of the one before.
TEST_P(ImageEncoderTest, FeaturesAreKeptWhereTheNextResultIsPutInTheirPlace) {
  const ImageInput picture = Picture(200, 150, 1), other = Picture(200, 150, 2);
  const FeatureId a(1), b(2), copied(3), beside(4);
  Encode({All(a, picture), All(b, other)});
  std::map<std::int64_t, at::Tensor> results;  // by their tiles
  const auto run = [&](const at::Tensor& pixels, const ImageEncoder::Features& features) {
    at::Tensor& result = results[pixels.size(0)];
    const at::Tensor now = features(pixels);
    if (!result.defined()) result = now.clone();
    return result.copy_(now);
  };
  const c10::InferenceMode inference;
  for (int tile = 0; tile < picture.tiles; ++tile) {
    for (const auto& [feature, image] : {std::pair(copied, &picture), {beside, &other}}) {
      const EncodeImage step{feature, image, {tile, 1, 0, parts_, parts_}};
      ASSERT_EQ(encoder_.Encode({&step, 1}, *llava_, run), absl::OkStatus());
    }
  }
  EXPECT_EQ(results.size(), 1u);
  EXPECT_TRUE(at::equal(encoder_.feature(copied), encoder_.feature(a)));
  EXPECT_TRUE(at::equal(encoder_.feature(beside), encoder_.feature(b)));
}

// Of one batch, each with its own table: the bits of the features of the values.
TEST_P(ImageEncoderTest, BytesAreReadAsTheValuesThatTheyStandFor) {
  const ImageInput picture = Picture(200, 150, 1), other = Picture(200, 150, 2);
  ASSERT_NE(*picture.pixel_table, *other.pixel_table);
  Encode({All(FeatureId(1), picture), All(FeatureId(2), other)});
  const c10::InferenceMode inference;
  for (const auto& [feature, image] : {std::pair(FeatureId(1), &picture), {FeatureId(2), &other}}) {
    const at::Tensor pixels =
        at::tensor(test::ValuesOf(*image)).view({image->tiles, 3, image->height, image->width});
    std::vector<at::Tensor> tiles;
    for (const at::Tensor& tile : pixels.split(1)) tiles.push_back(llava_->EncodeImages(tile));
    const model::ImageLayout layout = model::LayoutOf(llava_->config(), {200, 150});
    EXPECT_TRUE(at::equal(encoder_.feature(feature), llava_->PackImage(at::cat(tiles), layout)));
  }
}

TEST_P(ImageEncoderTest, DropForgetsWhatIsEncodedAndHalfEncoded) {
  const ImageInput picture = Picture(200, 150, 1);
  const FeatureId whole(1), half(2);
  Encode({All(whole, picture), {half, &picture, {0, 1, 0, 1, parts_}}});
  EXPECT_EQ(encoder_.unfinished(), 1u);
  encoder_.Drop(std::vector{half, whole, FeatureId(99)});
  EXPECT_EQ(encoder_.unfinished(), 0u);
  EXPECT_THROW(encoder_.feature(whole), std::out_of_range);
  // It may begin again.
  Encode({All(FeatureId(3), picture), All(half, picture)});
  EXPECT_TRUE(at::equal(encoder_.feature(half), encoder_.feature(FeatureId(3))));
}

INSTANTIATE_TEST_SUITE_P(Families, ImageEncoderTest,
                         testing::Values("", "next_mistral", "onevision", "vipllava"),
                         [](const auto& family) {
                           const std::string name = family.param;
                           return name.empty() ? "llava15" : name;
                         });

}  // namespace
}  // namespace llava::engine
