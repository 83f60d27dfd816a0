#include "server/engine/engine_router.h"

#include <gtest/gtest.h>

namespace llava::engine {
namespace {

scheduling::Request Prompt(int first, const char* image = nullptr) {
  scheduling::Request request;
  request.prompt_ids = {1, first, 3};
  if (image != nullptr) {
    request.images.emplace_back();
    request.images.back().digest = Sha256Of(image);
  }
  return request;
}

TEST(EngineRouterTest, NewOnesGoToTheIdlest) {
  EngineRouter router;
  EXPECT_EQ(router.Pick(Prompt(1), {500, 100, 300}), 1u);
  EXPECT_EQ(router.Pick(Prompt(2), {50, 100, 300}), 0u);
}

TEST(EngineRouterTest, TheSameImageGoesWhereItWas) {
  EngineRouter router;
  EXPECT_EQ(router.Pick(Prompt(1, "cat"), {100, 0}), 1u);
  EXPECT_EQ(router.Pick(Prompt(2, "cat"), {0, 4000}), 1u);
  EXPECT_EQ(router.Pick(Prompt(2, "dog"), {0, 4000}), 0u);
}

TEST(EngineRouterTest, LoadOverrulesAffinityAndIsRemembered) {
  EngineRouter router;
  EXPECT_EQ(router.Pick(Prompt(1), {100, 0}), 1u);
  EXPECT_EQ(router.Pick(Prompt(1), {1000, 10000}), 0u);
  EXPECT_EQ(router.Pick(Prompt(1), {1000, 900}), 0u);
}

TEST(EngineRouterTest, RemembersABoundedNumber) {
  EngineRouter router(/*capacity=*/2);
  router.Pick(Prompt(1), {100, 0});
  router.Pick(Prompt(2), {100, 0});
  router.Pick(Prompt(1), {0, 100});  // used again
  router.Pick(Prompt(3), {100, 0});  // 2 is forgotten
  EXPECT_EQ(router.Pick(Prompt(1), {0, 100}), 1u);
  EXPECT_EQ(router.Pick(Prompt(2), {0, 100}), 0u);
}

TEST(EngineRouterTest, AnotherVersionIsAnotherBeginning) {
  EngineRouter router;
  scheduling::Request request = Prompt(1);
  EXPECT_EQ(router.Pick(request, {100, 0}), 1u);
  request.version = Sha256Of("v2");
  EXPECT_EQ(router.Pick(request, {0, 100}), 0u);
}

TEST(EngineRouterTest, AnotherCacheDomainIsAnotherBeginning) {
  EngineRouter router;
  for (const char* image : {static_cast<const char*>(nullptr), "cat"}) {
    scheduling::Request request = Prompt(1, image);
    EXPECT_EQ(router.Pick(request, {100, 0}), 1u);
    request.cache_domain = Sha256Of("bob");
    EXPECT_EQ(router.Pick(request, {0, 100}), 0u);
  }
}

}  // namespace
}  // namespace llava::engine
