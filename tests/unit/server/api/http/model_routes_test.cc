#include "server/api/http/model_routes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/json.hpp>
#include <memory>
#include <string>

#include "tests/unit/server/api/http/route_fixture.h"

namespace llava::api {
namespace {

namespace http = boost::beast::http;
namespace json = boost::json;
using ::testing::HasSubstr;

class ModelRoutesTest : public RouteFixture {
 protected:
  ModelRoutesTest() {
    auto model = std::make_shared<registry::ServedModel>(*directory_.model);
    model->aliases = {"gpt-4o"};
    directory_.model = std::move(model);
    AddModelRoutes(&runner_, &router_);
  }

  // The ids of a text, as the tokens of a body for /detokenize.
  json::array Tokens(const std::string& text, bool special) {
    const Reply reply =
        Post("/tokenize",
             json::serialize(json::object{{"prompt", text}, {"add_special_tokens", special}}));
    EXPECT_EQ(reply.result_int(), 200u) << reply.body();
    return Json(reply).at("tokens").as_array();
  }
};

TEST_F(ModelRoutesTest, TheListHasEachNameAndTheModelsOwnFirst) {
  Start();
  const json::object list = Json(Get("/v1/models"));
  EXPECT_EQ(list.at("object").as_string(), "list");
  const json::array& models = list.at("data").as_array();
  ASSERT_EQ(models.size(), 2u);
  EXPECT_EQ(models[0].at("id").as_string(), "llava");
  EXPECT_EQ(models[1].at("id").as_string(), "gpt-4o");
  for (const json::value& model : models) {
    EXPECT_EQ(model.at("root").as_string(), "llava");
    EXPECT_EQ(model.at("object").as_string(), "model");
    EXPECT_EQ(model.at("version").as_string(), kVersion.Hex());
    EXPECT_GT(model.at("max_model_len").to_number<int>(), 0);
    EXPECT_FALSE(model.as_object().contains("parent"));
  }
}

TEST_F(ModelRoutesTest, AnAdapterNamesItsModelAsItsParent) {
  auto adapter = std::make_shared<registry::ServedModel>(*directory_.model);
  adapter->name = "birds";
  adapter->base = directory_.model;
  directory_.model = adapter;
  Start();
  const json::object list = Json(Get("/v1/models"));
  EXPECT_EQ(list.at("data").at(0).at("id").as_string(), "birds");
  EXPECT_EQ(list.at("data").at(0).at("parent").as_string(), "llava");
}

TEST_F(ModelRoutesTest, OneModelIsFoundAsAChatRequestFindsIt) {
  Start();
  EXPECT_EQ(Json(Get("/v1/models/llava")).at("id").as_string(), "llava");
  const std::string with_version = "llava@" + kVersion.Hex().substr(0, 12);
  const json::object one = Json(Get("/v1/models/" + with_version));
  EXPECT_EQ(one.at("id").as_string(), with_version);
  EXPECT_EQ(one.at("root").as_string(), "llava");
  const Reply none = Get("/v1/models/other");
  EXPECT_EQ(none.result_int(), 404u);
  EXPECT_EQ(Json(none).at("error").at("param").as_string(), "model");
}

TEST_F(ModelRoutesTest, TextBecomesTokensAndTokensText) {
  Start();
  const std::string text = "Hello, w\xc3\xb6rld";
  const Reply reply = Post("/tokenize", json::serialize(json::object{{"prompt", text}}));
  const json::object answer = Json(reply);
  EXPECT_EQ(answer.at("count").to_number<std::size_t>(), answer.at("tokens").as_array().size());
  EXPECT_GT(answer.at("max_model_len").to_number<int>(), 0);
  const Reply back =
      Post("/detokenize", json::serialize(json::object{{"tokens", Tokens(text, false)}}));
  EXPECT_EQ(back.result_int(), 200u);
  EXPECT_THAT(std::string(Json(back).at("prompt").as_string()), HasSubstr(text));
}

// As a prompt has them: the first token of all is there unless it is not asked for.
TEST_F(ModelRoutesTest, SpecialTokensMayBeLeftOut) {
  Start();
  const model::Tokenizer& tokenizer = directory_.model->processor->tokenizer();
  ASSERT_TRUE(tokenizer.adds_bos());
  const json::array with = Tokens("Hello", true), without = Tokens("Hello", false);
  ASSERT_EQ(with.size(), without.size() + 1);
  EXPECT_EQ(with[0].to_number<int>(), tokenizer.bos_id());
  EXPECT_EQ(json::array(with.begin() + 1, with.end()), without);
  const json::object by_default = Json(Post("/tokenize", R"({"prompt":"Hello"})"));
  EXPECT_EQ(by_default.at("tokens").as_array(), with);
}

TEST_F(ModelRoutesTest, WhatIsWrongInABodyIsNamedByItsField) {
  Start();
  EXPECT_EQ(WrongField(Post("/tokenize", "{}")), "prompt");
  EXPECT_EQ(WrongField(Post("/tokenize", R"({"prompt":3})")), "prompt");
  EXPECT_EQ(WrongField(Post("/tokenize", R"({"prompt":"a","model":3})")), "model");
  EXPECT_EQ(WrongField(Post("/tokenize", R"({"prompt":"a","add_special_tokens":1})")),
            "add_special_tokens");
  EXPECT_EQ(WrongField(Post("/tokenize", R"({"prompt":"a","tokens":[1]})")), "tokens");
  EXPECT_EQ(WrongField(Post("/tokenize", R"({"prompt":")" + std::string(4001, 'x') + "\"}")),
            "prompt");
  EXPECT_EQ(WrongField(Post("/detokenize", "{}")), "tokens");
  EXPECT_EQ(WrongField(Post("/detokenize", R"({"tokens":"1"})")), "tokens");
  EXPECT_EQ(WrongField(Post("/detokenize", R"({"tokens":[1,-1]})")), "tokens[1]");
  EXPECT_EQ(WrongField(Post("/detokenize", R"({"tokens":[1.5]})")), "tokens[0]");
  const int size = directory_.model->processor->tokenizer().vocab_size();
  EXPECT_EQ(WrongField(Post("/detokenize", absl::StrCat("{\"tokens\":[", size, "]}"))),
            "tokens[0]");
  EXPECT_EQ(Post("/detokenize", absl::StrCat("{\"tokens\":[", size - 1, "]}")).result_int(), 200u);
  EXPECT_EQ(WrongField(Post("/detokenize", "[]")), "");
}

TEST_F(ModelRoutesTest, FieldsThatAreNullAreNotThere) {
  Start();
  EXPECT_EQ(
      Post("/tokenize", R"({"prompt":"a","model":null,"add_special_tokens":null})").result_int(),
      200u);
  EXPECT_EQ(Post("/tokenize", R"({"prompt":"a","model":"other"})").result_int(), 404u);
}

TEST_F(ModelRoutesTest, OnlyTokensForChatMayAsk) {
  Start();
  for (const char* path : {"/v1/models", "/v1/models/llava"}) {
    EXPECT_EQ(Send(http::verb::get, path, "", "").result_int(), 401u) << path;
    EXPECT_EQ(Send(http::verb::get, path, "", "r").result_int(), 403u) << path;
  }
  for (const char* path : {"/tokenize", "/detokenize"}) {
    EXPECT_EQ(Send(http::verb::post, path, "{}", "").result_int(), 401u) << path;
  }
}

// They go through the doors of chat: a daemon that drains takes nothing new.
TEST_F(ModelRoutesTest, WhileDrainingNothingIsTokenized) {
  Start();
  runner_.Drain();
  EXPECT_EQ(Post("/tokenize", R"({"prompt":"a"})").result_int(), 503u);
  EXPECT_EQ(Get("/v1/models").result_int(), 200u);
}

}  // namespace
}  // namespace llava::api
