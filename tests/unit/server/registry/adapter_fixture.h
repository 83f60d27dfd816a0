// What the tests of adapters share: models that answer, and a loader that does what it is told.
#ifndef LLAVA_TESTS_UNIT_SERVER_REGISTRY_ADAPTER_FIXTURE_H_
#define LLAVA_TESTS_UNIT_SERVER_REGISTRY_ADAPTER_FIXTURE_H_

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/registry/adapter_loader.h"
#include "server/registry/served_model.h"
#include "tests/support/checkpoint_fixture.h"
#include "tests/support/fake_executor.h"
#include "tests/support/temp_dir.h"

namespace llava::registry {

// The golden checkpoint's, or with `inner` another inner size of the layers.
inline std::shared_ptr<const Processor> ProcessorOf(int inner = 0) {
  if (inner == 0) return *Processor::Load(model::GoldenCheckpointDir(), "");
  const test::TempDir temporary;
  const std::string& folder = temporary.path();
  model::CopyGoldenFiles(folder);
  const int golden = static_cast<int>(ProcessorOf()->config().text.intermediate_size);
  model::EditFile(folder + "/config.json", absl::StrCat("\"intermediate_size\": ", golden),
                  absl::StrCat("\"intermediate_size\": ", inner));
  return *Processor::Load(folder, "");
}

inline std::shared_ptr<const ServedModel> ModelOf(const std::string& version,
                                                  std::shared_ptr<const Processor> processor) {
  auto model = std::make_shared<ServedModel>();
  model->name = "llava";
  model->aliases = {"eyes"};
  model->version = version;
  model->digest = Sha256Of(version);
  model->processor = std::move(processor);
  return model;
}

// Answers with the first of its models.
class FakeDirectory final : public ModelDirectory {
 public:
  absl::StatusOr<std::shared_ptr<const ServedModel>> Find(absl::string_view name,
                                                          absl::string_view key) override {
    if (models.empty()) return absl::FailedPreconditionError("nothing is live");
    if (!name.empty() && !models[0]->IsNamed(name)) return absl::NotFoundError("not served");
    return key == "canary" ? models.back() : models.front();
  }
  std::vector<std::shared_ptr<const ServedModel>> List() override {
    if (before_list) before_list();
    return models;
  }
  bool AfterSwap(std::function<void()>) override { return false; }
  bool IsJudging() override { return models.size() > 1; }
  void Observe(const Digest& version, const Observation&) override { observed.push_back(version); }

  std::vector<std::shared_ptr<const ServedModel>> models;
  std::vector<Digest> observed;
  std::function<void()> before_list;
};

// An adapter of 100 bytes, named by its folder; an error for the folder "bad".
class FakeAdapterLoader final : public AdapterLoader {
 public:
  absl::StatusOr<LoadedAdapter> LoadAdapter(const std::string& dir, const Processor&,
                                            std::int64_t max_bytes,
                                            const ShouldContinue&) override {
    if (before_load) before_load();
    if (dir == "bad") return absl::DataLossError("bad: is torn");
    if (max_bytes < 100) return absl::ResourceExhaustedError("too large");
    return LoadedAdapter{.adapter = std::make_shared<testing::FakeAdapter>(Sha256Of(dir)),
                         .base = "base",
                         .targets = "q_proj",
                         .rank = 4,
                         .bytes = 100,
                         .probes = probes};
  }

  std::function<void()> before_load;
  std::vector<PreparedProbe> probes;  // of each
};

}  // namespace llava::registry

#endif  // LLAVA_TESTS_UNIT_SERVER_REGISTRY_ADAPTER_FIXTURE_H_
