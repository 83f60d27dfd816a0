#include "server/app/signals.h"

#include <gtest/gtest.h>
#include <pthread.h>
#include <signal.h>

namespace llava::server {
namespace {

bool IsBlocked(int number) {
  sigset_t set;
  EXPECT_EQ(pthread_sigmask(SIG_BLOCK, nullptr, &set), 0);
  return sigismember(&set, number) == 1;
}

class SignalsTest : public ::testing::Test {
 protected:
  ~SignalsTest() override { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  SignalsTest() { pthread_sigmask(SIG_BLOCK, nullptr, &before_); }

  // How many SIGHUP there were before the end.
  int Wait(Signals& signals) {
    int hang_ups = 0;
    signals.Wait([&hang_ups] { ++hang_ups; });
    return hang_ups;
  }

  sigset_t before_;
};

TEST_F(SignalsTest, EitherStopEndsTheWait) {
  for (const int number : {SIGTERM, SIGINT}) {
    Signals signals;
    raise(number);
    EXPECT_EQ(Wait(signals), 0);
  }
}

TEST_F(SignalsTest, AHangUpIsToldAndEndsNothing) {
  Signals signals;
  raise(SIGHUP);
  raise(SIGTERM);
  EXPECT_EQ(Wait(signals), 1);
}

TEST_F(SignalsTest, TheIntervalIsToldUntilTheEnd) {
  Signals signals;
  raise(SIGHUP);
  int intervals = 0;
  int hang_ups = 0;
  signals.Wait([&hang_ups] { ++hang_ups; }, std::chrono::milliseconds(1),
               [&intervals] {
                 if (++intervals == 3) raise(SIGTERM);
               });
  EXPECT_EQ(intervals, 3);
  EXPECT_EQ(hang_ups, 1);
}

TEST_F(SignalsTest, AfterTheFirstStopTheNextOneKillsAndAHangUpStillDoesNot) {
  Signals signals;
  raise(SIGTERM);
  Wait(signals);
  EXPECT_FALSE(IsBlocked(SIGTERM));
  EXPECT_FALSE(IsBlocked(SIGINT));
  EXPECT_TRUE(IsBlocked(SIGHUP));
}

TEST_F(SignalsTest, WhileSomethingSlowStartsStopsEndTheProcessAndAHangUpWaits) {
  Signals signals;
  EXPECT_TRUE(IsBlocked(SIGTERM));
  EXPECT_TRUE(IsBlocked(SIGINT));
  signals.LetThrough();
  EXPECT_FALSE(IsBlocked(SIGTERM));
  EXPECT_FALSE(IsBlocked(SIGINT));
  EXPECT_TRUE(IsBlocked(SIGHUP));
  EXPECT_EXIT(raise(SIGTERM), ::testing::KilledBySignal(SIGTERM), "");
}

TEST_F(SignalsTest, AClosedPipeIsAnErrorOfTheWriteAlone) {
  Signals signals;
  raise(SIGPIPE);  // and the test is still there
}

}  // namespace
}  // namespace llava::server
