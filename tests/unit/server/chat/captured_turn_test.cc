#include "server/chat/captured_turn.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/support/temp_dir.h"

namespace llava::api {
namespace {

using model::ImagePart;
using model::Role;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class CapturedTurnTest : public ::testing::Test {
 protected:
  CapturedTurnTest()
      : metrics_(&registry_),
        recorder_(
            capture::Recorder::Open({.store = {.dir = dir_.path() + "/capture"},
                                     .agreed = {.texts = {"texts"}, .pictures = {"pictures"}}},
                                    &clock_, &metrics_)
                .value()) {}

  static ChatCall Call(std::vector<model::ChatMessage> messages,
                       const std::string& tenant = "texts") {
    ChatCall call;
    call.request_id = "r1";
    call.tenant = tenant;
    call.messages = std::move(messages);
    return call;
  }

  // That nothing is kept of the call, and that it is counted so.
  void ExpectDropped(const ChatCall& call, const std::string& reason) {
    EXPECT_EQ(CaptureTurn(call, *recorder_), nullptr) << reason;
    EXPECT_THAT(
        prometheus::TextSerializer().Serialize(registry_.Collect()),
        HasSubstr(absl::StrCat("llava_capture_dropped_turns_total{reason=\"", reason, "\"} 1")));
  }

  const test::TempDir dir_;
  const RealClock clock_;
  prometheus::Registry registry_;
  observe::Metrics metrics_;
  const std::unique_ptr<capture::Recorder> recorder_;
};

TEST_F(CapturedTurnTest, AConversationWithPicturesWhereTheyStood) {
  ChatCall call = Call({{Role::kSystem, {"Be brief."}},
                        {Role::kUser, {"Look:", ImagePart{0}, ImagePart{1}, "Which is red?"}},
                        {Role::kAssistant, {"The first."}},
                        {Role::kUser, {"Sure?"}}},
                       "pictures");
  call.images = {{"one", "a"}, {"two", "b"}};
  call.sampling.temperature = 0.25;
  const auto turn = CaptureTurn(call, *recorder_);
  ASSERT_NE(turn, nullptr);
  EXPECT_EQ(turn->row.id, "r1");
  EXPECT_EQ(turn->row.system, "Be brief.");
  EXPECT_THAT(turn->row.said,
              ElementsAre("Look:\n<image>\n<image>\nWhich is red?", "The first.", "Sure?"));
  EXPECT_THAT(turn->row.pictures, ElementsAre("one", "two"));
  EXPECT_EQ(turn->row.sampling.temperature, 0.25);
  EXPECT_EQ(turn->answer, "");
}

TEST_F(CapturedTurnTest, TheRestOfAnAnswerContinuesIt) {
  const auto turn =
      CaptureTurn(Call({{Role::kUser, {"Count."}}, {Role::kAssistant, {"One, "}}}), *recorder_);
  ASSERT_NE(turn, nullptr);
  EXPECT_THAT(turn->row.said, ElementsAre("Count."));
  EXPECT_EQ(turn->answer, "One, ");
}

TEST_F(CapturedTurnTest, OfATenantThatHasNotAgreedNothing) {
  EXPECT_EQ(CaptureTurn(Call({{Role::kUser, {"Hi."}}}, "nobody"), *recorder_), nullptr);
  EXPECT_THAT(prometheus::TextSerializer().Serialize(registry_.Collect()),
              Not(HasSubstr("llava_capture_dropped_turns_total{")));
}

TEST_F(CapturedTurnTest, WhereOnlyTextsWereAgreedToATurnWithAPictureIsLeftOutWhole) {
  ChatCall call = Call({{Role::kUser, {ImagePart{0}, "What?"}}});
  call.images = {{"one", "a"}};
  ExpectDropped(call, "pictures");
}

TEST_F(CapturedTurnTest, WhatIsNoConversationInTurn) {
  const model::ChatMessage human{Role::kUser, {"Hi."}};
  ExpectDropped(Call({human, human}), "form");
}

TEST_F(CapturedTurnTest, AnAnswerFirst) {
  ExpectDropped(Call({{Role::kAssistant, {"Hi."}}, {Role::kUser, {"Hi."}}}), "form");
}

TEST_F(CapturedTurnTest, ASystemMessageInBetween) {
  ExpectDropped(Call({{Role::kUser, {"Hi."}}, {Role::kSystem, {"x"}}}), "form");
}

TEST_F(CapturedTurnTest, AMarkThatSomebodyTyped) {
  ExpectDropped(Call({{Role::kUser, {"What does <image> mean?"}}}), "mark");
}

TEST_F(CapturedTurnTest, Functions) {
  ChatCall call = Call({{Role::kUser, {"Hi."}}});
  call.messages.push_back({.role = Role::kAssistant, .tool_calls = {{"1", "f", "{}"}}});
  ExpectDropped(call, "tools");
}

TEST_F(CapturedTurnTest, SeveralAnswers) {
  ChatCall call = Call({{Role::kUser, {"Hi."}}});
  call.n = 2;
  ExpectDropped(call, "choices");
}

TEST_F(CapturedTurnTest, Scores) {
  ChatCall call = Call({{Role::kUser, {"Hi."}}});
  SetContinuations({"a", "b"}, &call);
  ExpectDropped(call, "score");
}

}  // namespace
}  // namespace llava::api
