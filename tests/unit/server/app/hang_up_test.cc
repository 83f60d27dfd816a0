#include "server/app/hang_up.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace llava::server {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

// What ReadAgain does is seen from outside, with real handshakes:
// tests/integration/hang_up_test.py.
TEST(ChangesForARestartTest, AllButWhatIsReadAgain) {
  Config started;
  Config now;
  EXPECT_THAT(ChangesForARestart(started, now), IsEmpty());
  now.tls_certificate = "new.pem";
  now.tls_key = "new.key";
  now.tls_client_ca = "ca.pem";
  now.tokens_file = "tokens";
  now.log_level = "debug";
  now.capture_texts = {"ann"};
  now.capture_pictures = {"bob"};
  EXPECT_THAT(ChangesForARestart(started, now), IsEmpty());
  now.max_n = 3;
  now.cors_origins = {"https://example.org"};
  EXPECT_THAT(ChangesForARestart(started, now), ElementsAre("cors_origins", "max_n"));
}

}  // namespace
}  // namespace llava::server
