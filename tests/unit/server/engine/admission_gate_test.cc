#include "server/engine/admission_gate.h"

#include <gtest/gtest.h>

#include <utility>

namespace llava::engine {
namespace {

using scheduling::AdmissionCost;

class AdmissionGateTest : public ::testing::Test {
 protected:
  static scheduling::AdmissionOptions Options() {
    scheduling::AdmissionOptions options;
    options.total = {.requests = 2, .tokens = 100, .bytes = 1000, .pixels = 1000};
    options.per_tenant = options.total;
    return options;
  }
  AdmissionTicket Enter(const AdmissionCost& cost = {.requests = 1}) {
    auto ticket = gate_.Enter("a", cost);
    EXPECT_TRUE(ticket.ok()) << ticket.status();
    return ticket.ok() ? *std::move(ticket) : AdmissionTicket();
  }

  ManualClock clock_;
  AdmissionGate gate_{Options(), &clock_};
};

TEST_F(AdmissionGateTest, ATicketGivesBackAllThatItHolds) {
  {
    AdmissionTicket ticket = Enter({.requests = 1, .tokens = 0, .bytes = 10, .pixels = 20});
    EXPECT_TRUE(ticket.Add({.tokens = 90}).ok());
    EXPECT_TRUE(ticket.Add({.tokens = 5, .bytes = 7}).ok());
    EXPECT_EQ(gate_.held(),
              (AdmissionCost{.requests = 1, .tokens = 95, .bytes = 17, .pixels = 20}));
  }
  EXPECT_EQ(gate_.held(), AdmissionCost{});
}

TEST_F(AdmissionGateTest, APartMayBeGivenBackBefore) {
  {
    AdmissionTicket ticket = Enter({.requests = 1, .tokens = 5, .bytes = 1000, .pixels = 20});
    EXPECT_FALSE(gate_.Enter("a", {.requests = 1, .tokens = 0, .bytes = 1}).ok());
    ticket.GiveBack({.bytes = 1000, .pixels = 20});
    EXPECT_EQ(gate_.held(), (AdmissionCost{.requests = 1, .tokens = 5}));
    EXPECT_TRUE(gate_.Enter("a", {.requests = 1, .tokens = 0, .bytes = 1000}).ok());
  }
  EXPECT_EQ(gate_.held(), AdmissionCost{});
}

TEST_F(AdmissionGateTest, MoreOfARequestIsNotAnotherOne) {
  gate_.LeaveRoom(true);
  AdmissionTicket first = Enter({.requests = 1, .tokens = 60});
  EXPECT_TRUE(first.Add({.tokens = 30}).ok());
  first.GiveBack({.tokens = 60});
  AdmissionTicket second = Enter({.tokens = 10});
  EXPECT_TRUE(absl::IsResourceExhausted(second.Add({.tokens = 30})));
  first.Release();
  EXPECT_TRUE(second.Add({.tokens = 30}).ok());
}

TEST_F(AdmissionGateTest, WhatIsRefusedIsNotAdded) {
  AdmissionTicket ticket = Enter({.requests = 1, .tokens = 90});
  EXPECT_EQ(ticket.Add({.tokens = 11}).code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(gate_.held().tokens, 90);
  ticket.Release();
  EXPECT_EQ(gate_.held(), AdmissionCost{});
  ticket.Release();  // again is nothing
  EXPECT_EQ(gate_.held(), AdmissionCost{});
}

TEST_F(AdmissionGateTest, AMovedTicketIsHeldOnce) {
  AdmissionTicket first = Enter();
  AdmissionTicket moved(std::move(first));
  EXPECT_EQ(gate_.held().requests, 1);
  first = AdmissionTicket();
  EXPECT_EQ(gate_.held().requests, 1);
  moved = Enter();  // the new one is held before the old one goes
  EXPECT_EQ(gate_.held().requests, 1);
  AdmissionTicket& itself = moved;
  moved = std::move(itself);
  EXPECT_EQ(gate_.held().requests, 1);
}

TEST_F(AdmissionGateTest, TheBoundIsForAllTickets) {
  const AdmissionTicket first = Enter();
  {
    const AdmissionTicket second = Enter();
    EXPECT_EQ(gate_.Enter("a", {.requests = 1}).status().code(),
              absl::StatusCode::kResourceExhausted);
  }
  EXPECT_TRUE(gate_.Enter("a", {.requests = 1}).ok());
}

TEST_F(AdmissionGateTest, AClosedOneLetsNobodyIn) {
  AdmissionTicket ticket = Enter();
  gate_.Close();
  EXPECT_EQ(gate_.Enter("a", {.requests = 1}).status().code(), absl::StatusCode::kUnavailable);
  EXPECT_TRUE(ticket.Add({.tokens = 1}).ok()) << "who is in may finish";
  ticket.Release();
  EXPECT_EQ(gate_.held(), AdmissionCost{});
}

// The time of an end is the clock's: the hint follows it.
TEST_F(AdmissionGateTest, EndsAreTimedByTheClock) {
  const AdmissionTicket other = Enter();
  for (int i = 0; i < 5; ++i) {
    AdmissionTicket ticket = Enter();
    clock_.Advance(std::chrono::seconds(7));
    ticket.Release();
  }
  const AdmissionTicket last = Enter();
  const auto refused = gate_.Enter("a", {.requests = 1});
  EXPECT_EQ(scheduling::RetryAfter(refused.status()), std::chrono::seconds(7));
}

}  // namespace
}  // namespace llava::engine
