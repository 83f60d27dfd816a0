// llavad on the fake backend, as a process of its own: for tests of signals, clients and load.
#include <CLI/CLI.hpp>

#include "server/app/serve_command.h"
#include "tests/support/fake_backend.h"

int main(int argc, char** argv) {
  CLI::App app("llavad that only pretends to compute", "fake_llavad");
  int step_ms = 0;
  app.add_option("--step-ms", step_ms, "Duration of a step");
  llava::server::ServeCommand serve(&app);
  CLI11_PARSE(app, argc, argv);
  llava::testing::FakeBackend backend{std::chrono::milliseconds(step_ms)};
  return serve.Run(&backend);
}
