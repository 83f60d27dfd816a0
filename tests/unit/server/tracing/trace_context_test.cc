#include "server/tracing/trace_context.h"

#include <set>

#include "gtest/gtest.h"

namespace llava::tracing {
namespace {

constexpr char kTrace[] = "0af7651916cd43dd8448eb211c80319c";

TEST(TraceContextTest, ReadsWhatTheRecommendationShows) {
  const auto context = ParseTraceparent("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
  ASSERT_TRUE(context.has_value());
  EXPECT_EQ(Hex(context->trace_id), kTrace);
  EXPECT_EQ(context->parent, (SpanId{0xb7, 0xad, 0x6b, 0x71, 0x69, 0x20, 0x33, 0x31}));
  EXPECT_TRUE(context->sampled);
  EXPECT_FALSE(
      ParseTraceparent("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00")->sampled);
  // Only the last bit says so.
  EXPECT_FALSE(
      ParseTraceparent("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-02")->sampled);
}

TEST(TraceContextTest, LaterVersionsMayBeLonger) {
  const std::string known = "-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
  EXPECT_TRUE(ParseTraceparent("cc" + known).has_value());
  EXPECT_TRUE(ParseTraceparent("cc" + known + "-what-the-future-holds").has_value());
  EXPECT_FALSE(ParseTraceparent("cc" + known + ".what").has_value());
  EXPECT_FALSE(ParseTraceparent("00" + known + "-more").has_value());
  EXPECT_FALSE(ParseTraceparent("ff" + known).has_value());
}

TEST(TraceContextTest, WhatIsMalformedIsNone) {
  for (const char* header : {
           "",
           "00",
           "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
           "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0",
           "00-00000000000000000000000000000000-b7ad6b7169203331-01",
           "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
           "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
           "00_0af7651916cd43dd8448eb211c80319c_b7ad6b7169203331_01",
           "00-0af7651916cd43dd8448eb211c80319g-b7ad6b7169203331-01",
           "0x-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
       }) {
    EXPECT_FALSE(ParseTraceparent(header).has_value()) << header;
  }
}

TEST(TraceContextTest, NewOnesDiffer) {
  std::set<std::string> ids;
  for (int i = 0; i < 1000; ++i) {
    const TraceContext context = NewTrace();
    EXPECT_FALSE(context.parent.has_value());
    EXPECT_TRUE(context.sampled);
    ids.insert(Hex(context.trace_id));
  }
  EXPECT_EQ(ids.size(), 1000u);
  EXPECT_NE(NewSpanId(), NewSpanId());
}

}  // namespace
}  // namespace llava::tracing
