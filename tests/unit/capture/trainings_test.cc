#include "capture/trainings.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/durable_file.h"
#include "tests/support/temp_dir.h"

namespace llava::capture {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

TEST(TrainingsTest, ARunIsReplacedAndGetsItsVersions) {
  const test::TempDir dir;
  EXPECT_THAT(*ReadTrainings(dir.path()), IsEmpty());
  {
    const TrainingsLock lock = TrainingsLock::Take(dir.path()).value();
    ASSERT_TRUE(WriteTraining({"/runs/a", {"1"}, {}}, dir.path()).ok());
    ASSERT_TRUE(WriteTraining({"/runs/a", {"1", "2"}, {}}, dir.path()).ok());
  }
  EXPECT_TRUE(AddVersion("/runs/a", "v1", dir.path()).ok());
  EXPECT_TRUE(AddVersion("/runs/a", "v1", dir.path()).ok());
  EXPECT_TRUE(AddVersion("/runs/unknown", "v2", dir.path()).ok());
  EXPECT_THAT(*ReadTrainings(dir.path()), ElementsAre(Training{"/runs/a", {"1", "2"}, {"v1"}}));
}

TEST(TrainingsTest, ADamagedRecordIsNamed) {
  const test::TempDir dir;
  TrainingsLock::Take(dir.path()).value();
  ASSERT_TRUE(WriteFile(dir.path() + "/trainings/x.json", "{\"run\": \"/r\"}").ok());
  EXPECT_THAT(ReadTrainings(dir.path()).status().message(),
              AllOf(HasSubstr("x.json"), HasSubstr("shards")));
}

}  // namespace
}  // namespace llava::capture
