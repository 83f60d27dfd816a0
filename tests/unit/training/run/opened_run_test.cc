#include "training/run/opened_run.h"

#include <ATen/ops/full.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/digest.h"
#include "capture/open_shard.h"
#include "capture/shard.h"
#include "capture/trainings.h"
#include "capture/verdicts.h"
#include "model/checkpoint/manifest.h"
#include "tests/support/captured_row.h"
#include "tests/support/temp_dir.h"
#include "training/data/picture_record.h"
#include "training/optim/state_store.h"
#include "training/publish/publish.h"

namespace llava::training {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

// One stage over rows.jsonl, beginning with what the link `latest` names.
class OpenedRunTest : public ::testing::Test {
 protected:
  OpenedRunTest() {
    for (const char* version : {"v1", "v2"}) {
      fs::create_directory(Path(version));
      File(absl::StrCat(version, "/config.json"), version);
    }
    fs::create_directory_symlink("v1", Path("latest"));
    File("rows.jsonl", "one");
  }

  std::string Path(const std::string& name) const { return dir_.path() + "/" + name; }
  std::string File(const std::string& name, const std::string& text) const {
    std::ofstream(Path(name)) << text;
    return Path(name);
  }
  void Point(const std::string& version) const {
    fs::remove(Path("latest"));
    fs::create_directory_symlink(version, Path("latest"));
  }

  Recipe Read(const std::string& rate = "1.0e-3", const std::string& more = "") const {
    const auto recipe = ParseRecipe(
        "name: x\noutput: run\nmodel: {checkpoint: latest}\n" + more +
            "stages:\n  - {name: s, train: [projector], steps: 4, batch: 1, rate: " + rate +
            ", data: {files: [rows.jsonl], workers: 1}}\n",
        Path("recipe.yaml"));
    EXPECT_TRUE(recipe.ok()) << recipe.status();
    return *recipe;
  }

  absl::StatusOr<OpenedRun> Open(const Recipe& recipe) {
    options_.on_message = [this](const std::string& line) { said_ += line + "\n"; };
    return OpenRun(recipe, options_);
  }
  absl::StatusOr<OpenedRun> Open() { return Open(Read()); }
  std::string Refused() {
    const absl::Status status = Open().status();
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << status;
    return std::string(status.message());
  }

  // As a run leaves it after so many of its 4 steps.
  void SaveState(std::int64_t step, const std::string& folder = "run") {
    Ranks alone;
    Progress progress;
    progress.stage = step == 4 ? 1 : 0;
    progress.step = step % 4;
    progress.total_steps = step;
    ASSERT_TRUE(StateStore(Path(folder) + "/state", 2, alone)
                    .Save(progress, {{"x", at::full({1}, 1.0)}})
                    .ok());
  }
  void Finish(const std::string& published = "v2", const std::string& folder = "run") {
    SaveState(4, folder);
    ASSERT_TRUE(WriteFinishedRun({"2", Path(published), ""}, Path(folder)).ok());
  }

  // A version that becomes the latest of the run's, unless it is rejected.
  PublishedVersion PublishVersion(std::int64_t step, const std::string& rejected = "") {
    model::Manifest manifest;
    manifest.recipe = "name: x\n";
    manifest.step = step;
    manifest.rejected = rejected;
    const auto write = [](const std::string& dir) {
      std::ofstream(dir + "/model.safetensors") << "weights";
      return absl::OkStatus();
    };
    RealFiles files;
    const auto published = Publish(Read().publish, manifest, write, files);
    EXPECT_TRUE(published.ok()) << published.status();
    return *published;
  }
  // As a run leaves it that is killed while it publishes.
  void KillPublishing(const PublishedVersion& version, const std::string& rejected = "") {
    ASSERT_TRUE(Open().ok());
    SaveState(4);
    ASSERT_TRUE(WritePublishingRun({version.version, version.dir, rejected}, Path("run")).ok());
  }

  test::TempDir dir_;
  OpenRunOptions options_;
  std::string said_;
};

TEST_F(OpenedRunTest, PinsWhatTheLinkNamedAtFirst) {
  {
    const auto run = Open();
    ASSERT_TRUE(run.ok()) << run.status();
    EXPECT_EQ(run->recipe.model.checkpoint, fs::canonical(Path("v1")).string());
    EXPECT_EQ(run->recipe.output, Path("run"));
    EXPECT_FALSE(run->finished);
  }
  SaveState(2);
  Point("v2");
  const auto run = Open();
  ASSERT_TRUE(run.ok()) << run.status();
  EXPECT_EQ(run->recipe.model.checkpoint, fs::canonical(Path("v1")).string());
  EXPECT_THAT(said_, HasSubstr("which it began with"));
  EXPECT_EQ(JoinRun(Read())->recipe.model.checkpoint, run->recipe.model.checkpoint);
}

TEST_F(OpenedRunTest, CapturedRowsAreTakenOnceAndVerdictsThatComeLaterAreForTheNextRun) {
  const std::string dir = Path("turns");
  constexpr char kShard[] = "1700000000000";
  auto shard = capture::OpenShard::Create(dir, kShard).value();
  ASSERT_TRUE(shard->Append(test::CapturedRow("ann", "a"), {}).ok());
  ASSERT_TRUE(shard->Append(test::CapturedRow("ann", "b"), {}).ok());
  ASSERT_TRUE(shard->Close().ok());
  const auto judge = [&](const capture::Verdicts& verdicts) {
    ASSERT_TRUE(capture::WriteVerdicts(verdicts, capture::ShardFolder(dir, kShard)).ok());
  };
  const Recipe recipe = Read("1.0e-3", "data: {captured: {dir: turns, weight: 2}}\n");
  ASSERT_TRUE(Open(recipe).ok()) << "there are other rows";
  judge({{0, {.thumb = capture::Thumb::kUp}}});
  std::string taken;
  {
    const auto run = Open(recipe);
    ASSERT_TRUE(run.ok()) << run.status();
    const DataOptions& data = run->recipe.stages[0].data;
    ASSERT_EQ(data.files.size(), 2u);
    EXPECT_EQ(data.weights, (std::vector<double>{1, 2}));
    EXPECT_EQ(data.file_images.size(), 2u);
    taken = data.files[1];
    EXPECT_TRUE(taken.starts_with(Path("run/captured/"))) << taken;
    EXPECT_EQ(JoinRun(recipe)->recipe.stages[0].data.files, data.files);
    EXPECT_EQ(capture::ReadTrainings(dir)->at(0).run, Path("run"));
  }
  SaveState(2);
  judge({{0, {.thumb = capture::Thumb::kUp}}, {1, {.thumb = capture::Thumb::kUp}}});
  EXPECT_EQ(Open(recipe)->recipe.stages[0].data.files[1], taken);
  Finish();
  fs::rename(dir, Path("aside"));
  EXPECT_TRUE(Open(recipe)->finished) << "it has all that it learned from";
  fs::rename(Path("aside"), dir);
  const auto next = Open(recipe);
  ASSERT_TRUE(next.ok()) << next.status();
  EXPECT_EQ(next->recipe.output, Path("run/anew-2"));
  EXPECT_THAT(said_, HasSubstr("turns: captured rows: SHA-256 was "));
  EXPECT_THAT(said_, HasSubstr("2 of 2 captured rows"));
}

TEST_F(OpenedRunTest, AStageWithoutAnyRowsSaysWhyThereAreNone) {
  ASSERT_TRUE(fs::create_directories(Path("turns/shards")));
  Recipe recipe = Read("1.0e-3", "data: {captured: {dir: turns}}\n");
  recipe.stages[0].data.files.clear();
  const absl::Status status = Open(recipe).status();
  EXPECT_THAT(std::string(status.message()), HasSubstr("has no closed shard with a row"));
}

TEST_F(OpenedRunTest, BeforeTheFirstSaveNothingIsPinned) {
  ASSERT_TRUE(Open().ok());
  Point("v2");
  File("rows.jsonl", "two");
  const auto run = Open();
  ASSERT_TRUE(run.ok()) << run.status();
  EXPECT_EQ(run->recipe.model.checkpoint, fs::canonical(Path("v2")).string());
  EXPECT_EQ(run->inputs.data_fingerprint, Sha256Of("two").Hex());
}

TEST_F(OpenedRunTest, RefusesAModelThatWasReplacedOrIsGone) {
  ASSERT_TRUE(Open().ok());
  SaveState(2);
  File("v1/config.json", "other");
  EXPECT_THAT(Refused(), HasSubstr("/v1/config.json: SHA-256 was "));
  options_.accept_changed_data = true;  // is about data
  EXPECT_THAT(Refused(), HasSubstr("/v1/config.json"));
  Point("v2");
  fs::remove_all(Path("v1"));
  EXPECT_THAT(Refused(), HasSubstr("/v1, which is not there any more"));
}

TEST_F(OpenedRunTest, RefusesChangedRowsUnlessTheyAreAccepted) {
  ASSERT_TRUE(Open().ok());
  SaveState(2);
  File("rows.jsonl", "one and more");
  EXPECT_THAT(Refused(), HasSubstr(Path("rows.jsonl") + ": SHA-256 was " + Sha256Of("one").Hex()));
  options_.accept_changed_data = true;
  std::string mixed;
  {
    const auto run = Open();
    ASSERT_TRUE(run.ok()) << run.status();
    mixed = TrainedDataFingerprint(run->inputs);
    EXPECT_NE(mixed, Sha256Of("one").Hex());
    EXPECT_NE(mixed, Sha256Of("one and more").Hex());
  }
  options_.accept_changed_data = false;
  const auto again = Open();
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(TrainedDataFingerprint(again->inputs), mixed);
}

TEST_F(OpenedRunTest, RefusesAPictureThatWasReplaced) {
  const std::string picture = File("a.png", "first");
  {
    const auto run = Open();
    ASSERT_TRUE(run.ok());
    const auto record = PictureRecord::Open(PicturesFolder(run->recipe), 0, false);
    ASSERT_TRUE((*record)->Check(picture, "first").ok());
    ASSERT_TRUE((*record)->Save().ok());
  }
  SaveState(2);
  EXPECT_TRUE(Open().ok());
  File("a.png", "other");
  EXPECT_THAT(Refused(), HasSubstr(picture + ": SHA-256 was"));
  fs::remove(picture);
  EXPECT_THAT(Refused(), HasSubstr(picture));
}

TEST_F(OpenedRunTest, NamesTheValueOfTheRecipeThatChanged) {
  ASSERT_TRUE(Open().ok());
  SaveState(2);
  const absl::Status status = Open(Read("2.0e-3")).status();
  EXPECT_THAT(std::string(status.message()), HasSubstr("stages[0].rate: was 1.0e-3, is 2.0e-3"));
}

TEST_F(OpenedRunTest, RefusesAStateWithoutARecord) {
  SaveState(2);
  EXPECT_THAT(Refused(), HasSubstr("without a record of its inputs"));
  options_.accept_changed_data = true;
  ASSERT_TRUE(Open().ok());
  options_.accept_changed_data = false;
  EXPECT_TRUE(Open().ok());
}

TEST_F(OpenedRunTest, AFinishedRunIsDoneOnce) {
  ASSERT_TRUE(Open().ok());
  Finish("v2");
  Point("v2");  // to what it published itself
  {
    const auto run = Open();
    ASSERT_TRUE(run.ok()) << run.status();
    ASSERT_TRUE(run->finished);
    EXPECT_EQ(run->finished->dir, Path("v2"));
  }
  Point("v1");  // rolled back: not published again
  EXPECT_TRUE(Open()->finished);
}

TEST_F(OpenedRunTest, HowARunEndedWhoseStatesWereRemovedIsForgotten) {
  ASSERT_TRUE(Open().ok());
  Finish("v2");
  fs::create_directory(Path("run/answers"));
  const std::string answers = File("run/answers/step-4-0123456789ab.jsonl", "of the old weights");
  File("run/gate.json", "{}");
  fs::remove_all(Path("run/state"));
  File("rows.jsonl", "other rows");
  {
    const auto run = Open();
    ASSERT_TRUE(run.ok()) << run.status();
    EXPECT_FALSE(run->finished);
    EXPECT_FALSE(fs::exists(answers));
    EXPECT_FALSE(fs::exists(Path("run/gate.json")));
  }
  SaveState(4);  // trained, and stopped before it has published
  const auto run = Open();
  ASSERT_TRUE(run.ok()) << run.status();
  EXPECT_FALSE(run->finished);
}

TEST_F(OpenedRunTest, EmptiesNothingThatNoRunHasMade) {
  for (const std::string name : {"pictures", "answers", "adapters", "checkpoint"}) {
    fs::create_directories(Path("run/" + name));
    const std::string file = File("run/" + name + "/mine.png", "pixels");
    EXPECT_THAT(Refused(), HasSubstr("/run/" + name + ": was not made by a run"));
    EXPECT_TRUE(fs::exists(file));
    fs::remove_all(Path("run/" + name));
  }
  File("run/inputs.json", "[{\"id\": \"7\"}]");
  EXPECT_THAT(Refused(), HasSubstr("is no record of a run"));
  EXPECT_EQ(fs::file_size(Path("run/inputs.json")), 13u);
  fs::remove(Path("run/inputs.json"));
  ASSERT_TRUE(Open().ok());
  fs::create_directory(Path("run/pictures"));  // as the run makes it before its first state
  EXPECT_TRUE(Open().ok());
}

TEST_F(OpenedRunTest, ARunThatWasKilledWhenServersSawItsVersionHasFinished) {
  const PublishedVersion own = PublishVersion(1);
  KillPublishing(own);
  PublishVersion(2);  // by somebody else, meanwhile
  const auto run = Open();
  ASSERT_TRUE(run.ok()) << run.status();
  ASSERT_TRUE(run->finished);
  EXPECT_EQ(run->finished->version, own.version);
  EXPECT_EQ(*ReadFinishedRun(Path("run")), *run->finished);
  EXPECT_TRUE(absl::IsNotFound(ReadPublishingRun(Path("run")).status()));
}

TEST_F(OpenedRunTest, ARunThatWasKilledBeforeServersSawItsVersionGoesOn) {
  PublishVersion(1);
  const PublishedVersion own = PublishVersion(2);
  PublishVersion(1);  // `latest` names the first
  KillPublishing(own);
  EXPECT_FALSE(Open()->finished);
  fs::remove_all(own.dir);
  EXPECT_FALSE(Open()->finished);
}

TEST_F(OpenedRunTest, ARejectedVersionThatIsKeptHasBeenPublished) {
  const PublishedVersion own = PublishVersion(2, "worse");
  KillPublishing(own, "worse");
  const auto run = Open();
  ASSERT_TRUE(run.ok() && run->finished) << run.status();
  EXPECT_EQ(run->finished->rejected, "worse");
}

TEST_F(OpenedRunTest, WithOtherRowsAFinishedRunBeginsAnewInANewFolder) {
  ASSERT_TRUE(Open().ok());
  Finish("v2");
  Point("v2");
  File("rows.jsonl", "one and more");
  {
    const auto run = Open();
    ASSERT_TRUE(run.ok()) << run.status();
    EXPECT_FALSE(run->finished);
    EXPECT_EQ(run->recipe.output, Path("run/anew-2"));
    EXPECT_EQ(run->recipe.publish, Path("run/published"));
    EXPECT_EQ(run->recipe.model.checkpoint, fs::canonical(Path("v2")).string());
    EXPECT_EQ(run->inputs.data_fingerprint, Sha256Of("one and more").Hex());
    EXPECT_THAT(said_, HasSubstr("rows.jsonl: SHA-256 was"));
  }
  SaveState(2, "run/anew-2");
  EXPECT_EQ(Open()->recipe.output, Path("run/anew-2"));
  Finish("v2", "run/anew-2");
  EXPECT_TRUE(Open()->finished);
  File("rows.jsonl", "third");
  EXPECT_EQ(Open()->recipe.output, Path("run/anew-3"));
  SaveState(4, "run/anew-3");
  fs::remove_all(Path("run/anew-2"));  // to have room: the newest one is still that of these rows
  EXPECT_EQ(Open()->recipe.output, Path("run/anew-3"));
}

TEST_F(OpenedRunTest, WithAnotherModelAFinishedRunBeginsAnew) {
  ASSERT_TRUE(Open().ok());
  Finish("v1");
  Point("v2");
  EXPECT_EQ(Open()->recipe.output, Path("run/anew-2"));
  EXPECT_THAT(said_, HasSubstr("the model to begin with: was "));
}

TEST_F(OpenedRunTest, WithOtherQuestionsAFinishedRunIsPublishedAgain) {
  ASSERT_TRUE(Open().ok());
  Finish("v1");
  const auto run = Open(Read("1.0e-3", "publish: elsewhere\n"));
  ASSERT_TRUE(run.ok()) << run.status();
  EXPECT_FALSE(run->finished);
  EXPECT_EQ(run->recipe.output, Path("run"));
}

// What was trained is published as what it is, whatever lies there now.
TEST_F(OpenedRunTest, AfterTheLastStepOtherRowsDoNotMatter) {
  ASSERT_TRUE(Open().ok());
  SaveState(4);
  File("rows.jsonl", "one and more");
  const auto run = Open();
  ASSERT_TRUE(run.ok()) << run.status();
  EXPECT_EQ(TrainedDataFingerprint(run->inputs), Sha256Of("one").Hex());
}

TEST_F(OpenedRunTest, BelongsToOneProcess) {
  const auto run = Open();
  ASSERT_TRUE(run.ok());
  const absl::Status second = Open().status();
  EXPECT_EQ(second.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(second.message()), HasSubstr(Path("run") + ": process "));
}

}  // namespace
}  // namespace llava::training
