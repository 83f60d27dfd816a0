// llava-train run, killed with SIGKILL at random moments (between steps, in a step, while it saves)
// and started again, reaches the losses and the weights of a run that nobody disturbed.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <boost/json/parse.hpp>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>
#include <string>
#include <vector>

#include "base/digest.h"
#include "base/rng.h"
#include "tests/support/temp_dir.h"

namespace llava::training {
namespace {

namespace fs = std::filesystem;

constexpr int kSteps = 18;

std::string Recipe(const std::string& output) {
  return "name: killed\noutput: " + output +
         "\nseed: 5\nmodel: {from_scratch: " + fs::absolute("demo/architecture").string() +
         "}\nsave: {every_steps: 2, keep: 2}\ndata:\n"
         "  scenes: {count: 12, seed: 3, level: one, turns: 2}\n  template: serving\n  workers: 1\n"
         "stages:\n"
         "  - {name: tower, objective: patch_labels, train: [vision_tower], steps: 5, batch: 3,"
         " rate: 1.0e-3}\n"
         "  - {name: align, train: [projector], steps: 4, batch: 3, rate: 1.0e-3}\n"
         "  - {name: tune, train: [projector, decoder], epochs: 3, batch: 4, micro_batch: 2,"
         " rate: 1.0e-3, warmup_ratio: 0.2}\n";
}

std::string ReadAll(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream bytes;
  bytes << in.rdbuf();
  return std::move(bytes).str();
}

// A llava-train run whose standard output we read.
class Child {
 public:
  explicit Child(const std::string& recipe) {
    int ends[2];
    EXPECT_EQ(pipe2(ends, O_CLOEXEC), 0);
    pid_ = fork();
    if (pid_ == 0) {
      dup2(ends[1], STDOUT_FILENO);
      setenv("OMP_NUM_THREADS", "1", 1);
      const std::string program = fs::read_symlink("/proc/self/exe").parent_path() / "llava-train";
      execl(program.c_str(), program.c_str(), "run", recipe.c_str(), static_cast<char*>(nullptr));
      _exit(127);
    }
    close(ends[1]);
    out_ = ends[0];
  }
  ~Child() { close(out_); }

  // Until `lines` lines were printed or it ended; true: it still runs.
  bool WaitForLines(int lines) {
    char byte = 0;
    while (lines > 0) {
      if (read(out_, &byte, 1) <= 0) return false;
      lines -= byte == '\n';
    }
    return true;
  }

  // Until it prints again, but at most this long.
  void WaitALittle(int milliseconds) {
    pollfd wait{out_, POLLIN, 0};
    poll(&wait, 1, milliseconds);
  }

  void Kill() { kill(pid_, SIGKILL); }

  int Join() {
    int status = 0;
    waitpid(pid_, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  }

 private:
  pid_t pid_ = -1;
  int out_ = -1;
};

// "loss accuracy grad_norm rate" of each step, with all digits.
std::vector<std::string> Steps(const std::string& output) {
  std::vector<std::string> steps;
  std::ifstream in(output + "/metrics.jsonl");
  for (std::string line; std::getline(in, line);) {
    const boost::json::value json = boost::json::parse(line);
    std::ostringstream text;
    for (const char* key : {"total_step", "loss", "accuracy", "grad_norm", "rate"}) {
      text << json.at(key) << " ";
    }
    steps.push_back(text.str());
  }
  return steps;
}

TEST(KilledRunTest, ReachesTheSameLossesAndWeights) {
  const test::TempDir temporary;
  const std::string& folder = temporary.path();
  std::ofstream(folder + "/whole.yaml") << Recipe(folder + "/whole");
  Child whole(folder + "/whole.yaml");
  ASSERT_FALSE(whole.WaitForLines(1000));
  ASSERT_EQ(whole.Join(), 0);
  const std::vector<std::string> expected = Steps(folder + "/whole");
  ASSERT_EQ(expected.size(), static_cast<std::size_t>(kSteps));

  constexpr std::uint64_t kSeed = 20240;
  std::printf("seed %llu\n", static_cast<unsigned long long>(kSeed));
  Rng rng(kSeed);
  std::ofstream(folder + "/killed.yaml") << Recipe(folder + "/killed");
  int kills = 0;
  for (int attempt = 0; attempt < 200; ++attempt) {
    Child child(folder + "/killed.yaml");
    // Now and then it may come some way, so that the test ends.
    const bool running = child.WaitForLines(static_cast<int>(rng.Between(0, 4)));
    if (running) {
      child.WaitALittle(static_cast<int>(rng.Between(0, 60)));
      child.Kill();
    }
    if (child.Join() == 0) break;
    ++kills;
    ASSERT_LT(attempt, 199) << "no progress";
  }
  std::printf("killed %d times\n", kills);
  EXPECT_GT(kills, 3);
  EXPECT_EQ(Steps(folder + "/killed"), expected);
  EXPECT_EQ(Sha256Of(ReadAll(folder + "/killed/published/latest/model.safetensors")).Hex(),
            Sha256Of(ReadAll(folder + "/whole/published/latest/model.safetensors")).Hex());
}

}  // namespace
}  // namespace llava::training
