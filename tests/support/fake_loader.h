// A loader for the registry that does what it is told, over one engine with a fake executor.
#ifndef LLAVA_TESTS_SUPPORT_FAKE_LOADER_H_
#define LLAVA_TESTS_SUPPORT_FAKE_LOADER_H_

#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/digest.h"
#include "server/engine/engine.h"
#include "server/registry/model_loader.h"
#include "tests/support/fake_executor.h"

namespace llava::testing {

// Version of folder "a" is Sha256Of("a").
class FakeLoader final : public registry::ModelLoader {
 public:
  explicit FakeLoader(engine::Engine* engine) : engine_(engine) {}

  absl::StatusOr<registry::VersionIdentity> Identify(const std::string& dir) override {
    if (torn == dir) return absl::DataLossError("manifest.json is cut");
    registry::VersionIdentity identity;
    identity.digest = Sha256Of(std::filesystem::path(dir).filename().string());
    if (right.contains(dir)) {
      identity.evaluation["total"] = right[dir];
      identity.exams[exam] = right[dir];
    }
    return identity;
  }
  absl::Status Verify(const std::string& dir, const Digest&,
                      const registry::ShouldContinue&) override {
    ++verified[dir];
    return failing == dir ? absl::DataLossError("model.safetensors has another hash")
                          : absl::OkStatus();
  }
  absl::StatusOr<registry::LoadedVersion> Load(const std::string& dir, const Digest& version,
                                               bool beside) override {
    if (before_load) before_load(beside);
    if (too_big == dir) return absl::ResourceExhaustedError("needs 9 GiB, 1 GiB is free");
    registry::LoadedVersion loaded;
    loaded.models.push_back(std::make_shared<FakeModel>(version));
    registry::PreparedProbe probe{.name = "a red square", .request = {}, .expected = {}};
    probe.request.prompt_ids = {1, 2, 3};
    probe.request.sampling.max_tokens = 4;
    probe.request.version = version;
    probe.expected = FakeAnswer(probe.request, 0, 4);
    if (wrong == dir) ++probe.expected[2];
    loaded.probes.push_back(std::move(probe));
    return loaded;
  }
  absl::StatusOr<std::vector<engine::Engine*>> EnginesFor(const registry::LoadedVersion&,
                                                          bool) override {
    return std::vector{engine_};
  }
  void Release(registry::LoadedVersion) override {}

  std::string torn, failing, too_big, wrong;
  std::map<std::string, int> verified;
  std::map<std::string, double> right;  // what the manifest says of the share of right answers
  std::string exam = "scenes";          // in which exam, when it is identified
  std::function<void(bool beside)> before_load;

 private:
  engine::Engine* const engine_;
};

}  // namespace llava::testing

#endif  // LLAVA_TESTS_SUPPORT_FAKE_LOADER_H_
