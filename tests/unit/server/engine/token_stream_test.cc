#include "server/engine/token_stream.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

#include "base/mutex.h"

namespace llava::engine {
namespace {

using scheduling::FinishReason;
using scheduling::RequestId;

class Control final : public StreamControl {
 public:
  void Cancel(RequestId) override { ++cancels; }
  void Resume(RequestId) override { ++resumes; }
  std::atomic<int> cancels = 0;
  std::atomic<int> resumes = 0;
};

Delta Token(int token, int choice = 0) {
  Delta delta;
  delta.choice = choice;
  delta.text = std::to_string(token);
  delta.tokens.push_back({token, 0, {}});
  return delta;
}

TEST(TokenStreamTest, GivesWhatWasPushedThenTheEndThenNothing) {
  Control control;
  auto [sink, stream] = MakeTokenStream(RequestId(1), 8, &control);
  EXPECT_TRUE(sink.Push(Token(5)));
  sink.PushEnd({absl::OkStatus(), {}, {}});
  EXPECT_EQ(std::get<Delta>(*stream.Pop()).text, "5");
  EXPECT_TRUE(std::get<End>(*stream.Pop()).status.ok());
  EXPECT_FALSE(stream.Pop().has_value());
  EXPECT_FALSE(stream.TryPop(nullptr).has_value());
}

TEST(TokenStreamTest, ASlowReaderGetsJoinedDeltasOfAChoice) {
  Control control;
  auto [sink, stream] = MakeTokenStream(RequestId(1), 100, &control);
  sink.Push(Token(1));
  Delta last = Token(2);
  last.finish = FinishReason::kStop;
  sink.Push(std::move(last));
  sink.Push(Token(7, /*choice=*/1));
  sink.PushEnd({});
  const Delta first = std::get<Delta>(*stream.Pop());
  EXPECT_EQ(first.text, "12");
  EXPECT_EQ(first.tokens.size(), 2u);
  EXPECT_EQ(first.finish, FinishReason::kStop);
  EXPECT_EQ(std::get<Delta>(*stream.Pop()).choice, 1);
}

TEST(TokenStreamTest, IsFullAtItsCapacityAndResumesAtHalf) {
  Control control;
  auto [sink, stream] = MakeTokenStream(RequestId(1), 4, &control);
  EXPECT_TRUE(sink.Push(Token(0, 0)));
  EXPECT_TRUE(sink.Push(Token(1, 1)));
  EXPECT_TRUE(sink.Push(Token(2, 0)));
  EXPECT_FALSE(sink.Push(Token(3, 1)));
  stream.Pop();
  EXPECT_EQ(control.resumes, 0);
  stream.Pop();
  EXPECT_EQ(control.resumes, 1);
  stream.Pop();
  EXPECT_EQ(control.resumes, 1);
  sink.PushEnd({});
}

TEST(TokenStreamTest, DroppingTheReaderCancelsOnce) {
  Control control;
  auto pair = MakeTokenStream(RequestId(1), 4, &control);
  {
    TokenStream stream = std::move(pair.second);
    stream.Cancel();
    stream.Cancel();
  }
  EXPECT_EQ(control.cancels, 1);
  EXPECT_TRUE(pair.first.Push(Token(1)));  // nobody reads; it is not kept either
  pair.first.PushEnd({});
}

TEST(TokenStreamTest, NothingIsToldAfterTheEnd) {
  auto control = std::make_unique<Control>();
  auto [sink, stream] = MakeTokenStream(RequestId(1), 4, control.get());
  sink.PushEnd({});
  control.reset();
  stream.Cancel();
  stream = TokenStream();
}

TEST(TokenStreamTest, CallsBackOnceWhenSomethingComes) {
  Control control;
  auto [sink, stream] = MakeTokenStream(RequestId(1), 4, &control);
  int calls = 0;
  const auto count = [&calls] { ++calls; };
  EXPECT_FALSE(stream.TryPop(count).has_value());
  sink.Push(Token(1));
  sink.Push(Token(2));
  EXPECT_EQ(calls, 1);
  EXPECT_TRUE(stream.TryPop(count).has_value());  // there was one: not armed
  sink.Push(Token(3));
  EXPECT_EQ(calls, 1);
  EXPECT_TRUE(stream.TryPop(count).has_value());
  EXPECT_FALSE(stream.TryPop(count).has_value());
  sink.PushEnd({});
  EXPECT_EQ(calls, 2);
}

TEST(TokenStreamTest, TheCallbackMayPopAndDropTheStream) {
  Control control;
  auto [sink, made] = MakeTokenStream(RequestId(1), 4, &control);
  auto stream = std::make_unique<TokenStream>(std::move(made));
  stream->TryPop([&stream] {
    EXPECT_TRUE(stream->TryPop(nullptr).has_value());
    stream.reset();
  });
  sink.Push(Token(1));
  EXPECT_EQ(stream, nullptr);
  EXPECT_EQ(control.cancels, 1);
  sink.PushEnd({});
}

// Readers come and go while the writer writes and calls back.
TEST(TokenStreamTest, ManyThreads) {
  Control control;
  for (int round = 0; round < 200; ++round) {
    auto pair = MakeTokenStream(RequestId(1), 4, &control);
    std::jthread writer([sink = std::move(pair.first)]() mutable {
      for (int i = 0; i < 20; ++i) sink.Push(Token(i));
      sink.PushEnd({});
    });
    TokenStream stream = std::move(pair.second);
    if (round % 3 == 0) {
      while (stream.Pop()) continue;
    } else {
      int calls = 0;  // the callback refers to it: dropping the stream has to wait for it
      for (int i = 0; i < round % 7; ++i) stream.TryPop([&calls] { ++calls; });
      stream = TokenStream();
    }
  }
}

}  // namespace
}  // namespace llava::engine
