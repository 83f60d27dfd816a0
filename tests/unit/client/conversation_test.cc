#include "client/conversation.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/json/parse.hpp>
#include <fstream>
#include <sstream>

#include "tests/support/temp_dir.h"

namespace llava::client {
namespace {

constexpr char kPicture[] = "tests/golden/data/images/landscape.png";

TEST(ConversationTest, ImagesGoWithTheNextQuestionOnly) {
  Conversation conversation;
  conversation.SetSystem("Be short.");
  ASSERT_TRUE(conversation.AddImage(kPicture).ok());
  ASSERT_TRUE(conversation.AddImage(kPicture).ok());
  EXPECT_EQ(conversation.waiting_images(), 2u);
  EXPECT_EQ(conversation.newest_image().substr(1, 3), "PNG");
  v1::ChatRequest settings;
  settings.set_model("m");
  const v1::ChatRequest first = conversation.Ask("What?", settings);
  EXPECT_EQ(first.model(), "m");
  ASSERT_EQ(first.messages_size(), 2);
  EXPECT_EQ(first.messages(0).role(), v1::ROLE_SYSTEM);
  ASSERT_EQ(first.messages(1).parts_size(), 3);
  EXPECT_TRUE(first.messages(1).parts(1).has_image());
  EXPECT_EQ(first.messages(1).parts(2).text(), "What?");
  EXPECT_EQ(conversation.waiting_images(), 0u);
  conversation.Answered("A hill.");
  const v1::ChatRequest second = conversation.Ask("Sure?", settings);
  ASSERT_EQ(second.messages_size(), 4);
  EXPECT_EQ(second.messages(2).role(), v1::ROLE_ASSISTANT);
  EXPECT_EQ(second.messages(2).parts(0).text(), "A hill.");
  EXPECT_EQ(second.messages(3).parts_size(), 1);
}

TEST(ConversationTest, AFailedQuestionWasNeverAsked) {
  Conversation conversation;
  conversation.Ask("one", {});
  conversation.Dropped();
  EXPECT_EQ(conversation.Ask("two", {}).messages_size(), 1);
  ASSERT_TRUE(conversation.AddImage(kPicture).ok());
  conversation.Reset();
  EXPECT_EQ(conversation.waiting_images(), 0u);
  EXPECT_EQ(conversation.Ask("three", {}).messages_size(), 1);
}

TEST(ConversationTest, WhatTheSystemSaysComesFirstWheneverItIsSet) {
  Conversation conversation;
  conversation.Ask("What?", {});
  conversation.SetSystem("Be short.");
  const v1::ChatRequest request = conversation.Ask("Sure?", {});
  ASSERT_EQ(request.messages_size(), 3);
  EXPECT_EQ(request.messages(0).role(), v1::ROLE_SYSTEM);
}

TEST(ConversationTest, PicturesAreSavedUnderTheirType) {
  const test::TempDir dir;
  for (const auto& [bytes, type] :
       {std::pair("\xff\xd8\xff", "jpeg"), std::pair("BM..", "bmp"), std::pair("RIFF", "webp")}) {
    std::ofstream(dir.path() + "/picture", std::ios::binary) << bytes;
    Conversation conversation;
    ASSERT_TRUE(conversation.AddImage(dir.path() + "/picture").ok());
    conversation.Ask("What?", {});
    ASSERT_TRUE(conversation.Save(dir.path() + "/saved.json").ok());
    std::ostringstream text;
    text << std::ifstream(dir.path() + "/saved.json").rdbuf();
    EXPECT_THAT(text.str(), ::testing::HasSubstr(std::string("data:image/") + type + ";base64,"));
  }
}

TEST(ConversationTest, NamesTheFileThatIsNoPicture) {
  Conversation conversation;
  const absl::Status missing = conversation.AddImage("/nonexistent.png");
  EXPECT_EQ(missing.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(missing.message()), ::testing::HasSubstr("/nonexistent.png"));
}

TEST(ConversationTest, IsSavedAsARequestOfTheHttpApi) {
  const test::TempDir dir;
  const std::string path = dir.path() + "/saved.json";
  Conversation conversation;
  ASSERT_TRUE(conversation.AddImage(kPicture).ok());
  conversation.Ask("What?", {});
  conversation.Answered("half a character: \xE2\x82");
  ASSERT_TRUE(conversation.Save(path).ok());
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  const auto saved = boost::json::parse(text.str());
  const auto& messages = saved.at("messages").as_array();
  ASSERT_EQ(messages.size(), 2u);
  EXPECT_EQ(messages[0].at("role"), "user");
  const auto& parts = messages[0].at("content").as_array();
  EXPECT_EQ(parts[0].at("type"), "image_url");
  EXPECT_EQ(parts[0].at("image_url").at("url").as_string().find("data:image/png;base64,"), 0u);
  EXPECT_EQ(parts[1].at("text"), "What?");
  EXPECT_EQ(messages[1].at("role"), "assistant");
  EXPECT_EQ(messages[1].at("content").at(0).at("text"), "half a character: \xEF\xBF\xBD");
  EXPECT_EQ(conversation.Save("/nonexistent/saved.json").code(), absl::StatusCode::kUnavailable);
}

}  // namespace
}  // namespace llava::client
