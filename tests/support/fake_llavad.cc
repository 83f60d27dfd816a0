// llavad on the fake backend, as a process of its own: for tests of signals, clients and load.
#include <CLI/CLI.hpp>
#include <cstdint>
#include <string>

#include "server/app/serve_command.h"
#include "tests/support/fake_backend.h"

int main(int argc, char** argv) {
  CLI::App app("llavad that only pretends to compute", "fake_llavad");
  int step_ms = 0;
  app.add_option("--step-ms", step_ms, "Duration of a step");
  std::int64_t device_memory = std::int64_t{8} << 30, model_memory = 0, block_bytes = 4096;
  app.add_option("--device-memory", device_memory, "Bytes of each GPU");
  app.add_option("--model-memory", model_memory, "Bytes that a model is said to need");
  app.add_option("--block-bytes", block_bytes, "Bytes of a KV block");
  std::string answer;
  app.add_option("--answer", answer, "What every answer says that need have no form");
  llava::server::ServeCommand serve(&app);
  CLI11_PARSE(app, argc, argv);
  llava::testing::FakeBackend backend{std::chrono::milliseconds(step_ms)};
  backend.device_memory = device_memory;
  backend.memory = model_memory;
  backend.block_bytes = block_bytes;
  backend.answer = answer;
  return serve.Run(&backend);
}
