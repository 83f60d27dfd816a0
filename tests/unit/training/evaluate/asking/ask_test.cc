#include "training/evaluate/asking/ask.h"

#include "gtest/gtest.h"
#include "tests/support/scripted_server.h"

namespace llava::training {
namespace {

TEST(Ask, PicturesBelongToTheFirstMessage) {
  BenchQuestion question;
  question.prompt = "And now?";
  question.images = {"a.png"};
  question.history = {{"What?", "This."}};
  const ChatRequest request = RequestOf(question, {7});
  ASSERT_EQ(request.messages.size(), 3u);
  EXPECT_EQ(request.messages[0].images.size(), 1u);
  EXPECT_EQ(request.messages[1].role, "assistant");
  EXPECT_EQ(request.messages[2].text, "And now?");
  EXPECT_EQ(request.max_tokens, 7);
  EXPECT_EQ(request.temperature, 0);
}

TEST(Ask, AsksWhatIsOpenAndKeepsWhatIsRefused) {
  test::ScriptedServer server([](std::size_t, const std::string& body) {
    return body.find("long") != body.npos ? test::HttpText(400, R"({"error":"too long"})")
                                          : test::Completion(" fine ");
  });
  Benchmark bench;
  for (const char* prompt : {"known", "open", "long"}) {
    bench.questions.emplace_back();
    bench.questions.back().prompt = prompt;
  }
  AnswerStore store(3);
  ASSERT_TRUE(store.Put(0, {"before", ""}).ok());
  EndpointOptions options;
  options.base_url = server.url();
  options.model = "judge";
  const RealClock clock;
  auto endpoint = Endpoint::Make(options, Ledger(), &clock);
  std::vector<std::string> said;
  const std::function<void(const std::string&)> say = [&](const std::string& line) {
    said.push_back(line);
  };
  AskingProgress progress(clock, **endpoint, say, 1, 3);
  const absl::Status status = AskAll(bench, {5}, **endpoint, &store, &progress, nullptr);
  ASSERT_TRUE(status.ok()) << status;
  ASSERT_FALSE(said.empty());
  EXPECT_EQ(said.back().substr(0, 8), "3 of 3, ");
  EXPECT_EQ(store.Get(0)->text, "before");
  EXPECT_EQ(store.Get(1)->text, "fine");
  EXPECT_EQ(store.Get(2)->error, "HTTP 400: too long");
  EXPECT_EQ(server.bodies().size(), 2u);
}

TEST(Ask, ALetterOfAMultipleChoiceIsScoredWhereThatIsWanted) {
  test::ScriptedServer server([](std::size_t, const std::string& body) {
    return body.find(R"("choices":["A","B","C"])") != body.npos
               ? test::HttpText(200, R"({"object":"score","best":2})")
               : test::Completion("free");
  });
  Benchmark bench;
  bench.questions.resize(2);
  bench.questions[0].prompt = "Which?";
  bench.questions[0].choices = 3;
  bench.questions[1].prompt = "What?";
  AnswerStore store(2);
  EndpointOptions options;
  options.base_url = server.url();
  options.model = "m";
  options.any_model = true;
  const RealClock clock;
  auto endpoint = Endpoint::Make(options, Ledger(), &clock);
  const AskOptions ask{5, /*scores_choices=*/true};
  const absl::Status status = AskAll(bench, ask, **endpoint, &store, nullptr, nullptr);
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(store.Get(0)->text, "C");
  EXPECT_EQ(store.Get(1)->text, "free");
}

}  // namespace
}  // namespace llava::training
