#include "client/batch_command.h"

#include <CLI/CLI.hpp>
#include <cstddef>
#include <cstdio>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "base/command_line/numbers.h"
#include "base/file.h"
#include "base/json_reader.h"
#include "base/status_macros.h"
#include "client/batch/output.h"
#include "client/batch/progress.h"
#include "client/batch/run.h"
#include "client/batch/source.h"
#include "client/connection.h"
#include "client/exit_code.h"
#include "client/own_server.h"

namespace llava::client {
namespace {

constexpr std::size_t kMaxSchemaBytes = std::size_t{1} << 16;  // as the server has it
constexpr std::size_t kMaxSchemaDepth = 48;

struct Arguments {
  Connection connection;
  BatchOptions batch;
  std::string output;
  std::string system;
  std::string schema;      // a file with a JSON Schema
  std::string checkpoint;  // served by a child, instead of a server that is there
  std::string llavad = "llavad";
  int max_tokens = 256;
  double temperature = 0;
};

int ExitCodeOf(const absl::Status& status, const BatchProgress& progress,
               std::int64_t failed_before) {
  if (status.ok()) return progress.failed + failed_before > 0 ? kRequestError : kOk;
  std::fprintf(stderr, "llava batch: %s\n", std::string(status.message()).c_str());
  return client::ExitCodeOf(grpc::Status(static_cast<grpc::StatusCode>(status.code()), ""));
}

// A million rows do not fail for what can be seen before the first.
absl::Status CheckArguments(const Arguments& arguments) {
  if (arguments.batch.defaults.prompt.empty() && !MayBringPrompts(arguments.batch.input)) {
    return absl::InvalidArgumentError(
        absl::StrCat(arguments.batch.input, ": pictures bring no prompt, expected --prompt"));
  }
  if (arguments.output.ends_with(".parquet")) {
    return absl::InvalidArgumentError(
        absl::StrCat(arguments.output,
                     ": answers are JSON lines or CSV, which Parquet's tools read; expected a "
                     "name that ends in .jsonl or .csv"));
  }
  return absl::OkStatus();
}

absl::Status SetSchema(const std::string& path, v1::ChatRequest* request) {
  if (path.empty()) return absl::OkStatus();
  ASSIGN_OR_RETURN(std::string schema, ReadFile(path, kMaxSchemaBytes));
  const auto parsed = ParseJson(schema, kMaxSchemaDepth);
  if (!parsed.ok()) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": ", parsed.status().message()));
  }
  request->mutable_format()->set_json_schema(std::move(schema));
  return absl::OkStatus();
}

int Run(Arguments& arguments) {
  v1::ChatRequest& common = arguments.batch.defaults.request;
  for (const absl::Status& status :
       {CheckArguments(arguments), SetSchema(arguments.schema, &common)}) {
    if (!status.ok()) return ExitCodeOf(status, {}, 0);
  }
  common.set_priority(v1::PRIORITY_LOW);
  common.mutable_sampling()->set_max_tokens(arguments.max_tokens);
  common.mutable_sampling()->set_temperature(arguments.temperature);
  if (!arguments.system.empty()) {
    v1::ChatMessage* message = common.add_messages();
    message->set_role(v1::ROLE_SYSTEM);
    message->add_parts()->set_text(arguments.system);
  }
  std::unique_ptr<OwnServer> own;
  if (!arguments.checkpoint.empty()) {
    auto started = OwnServer::Start(arguments.llavad, arguments.checkpoint);
    if (!started.ok()) return ExitCodeOf(started.status(), {}, 0);
    own = *std::move(started);
    arguments.connection = Connection();
    arguments.connection.server = own->address();
  }
  const auto stub = arguments.connection.Stub();
  if (!stub.ok()) return ExitCodeOf(stub.status(), {}, 0);
  auto output = BatchOutput::Open(arguments.output);
  if (!output.ok()) return ExitCodeOf(output.status(), {}, 0);
  const std::int64_t failed_before = output->failed();
  const RealClock clock;
  ProgressLine line(&clock, stderr);
  BatchRun run(
      &arguments.batch, &*output, stub->get(),
      [&](grpc::ClientContext* context) { arguments.connection.Identify(context); }, &clock,
      [&](const BatchProgress& progress) { line.Show(progress); });
  return ExitCodeOf(run.Run(), run.progress(), failed_before);
}

}  // namespace

void AddBatchCommand(CLI::App* app, int* exit_code) {
  CLI::App* command = app->add_subcommand("batch", "Ask about many pictures, answers into a file");
  command->footer(
      "INPUT is a folder, a pattern in quotes ('shots/*.png'), or a file of rows (.jsonl):\n"
      "  {\"id\": \"a\", \"image\": \"a.jpg\", \"prompt\": \"What is this?\"}   or OpenAI's batch "
      "format.\n"
      "The output has a row for each: id, answer, finish_reason, model, version, prompt_tokens,\n"
      "completion_tokens, error; JSON lines, or CSV when its name ends in .csv. Run again after a\n"
      "kill, it goes on with the rows that are missing. Requests have low priority.\n" +
      command->get_footer());
  auto arguments = std::make_shared<Arguments>();
  arguments->connection.AddFlags(command);
  BatchOptions& batch = arguments->batch;
  command->add_option("INPUT", batch.input, "Folder, pattern or FILE.jsonl")->required();
  command->add_option("--prompt", batch.defaults.prompt, "What to ask, where a row does not say");
  command->add_option("--out", arguments->output, "File of answers, .jsonl or .csv")->required();
  command->add_option("--model", *batch.defaults.request.mutable_model(),
                      "Model to ask; without it: the rows', or the server's");
  command->add_option("--system", arguments->system, "Instructions before every prompt");
  command->add_option("--schema", arguments->schema,
                      "File with a JSON Schema that every answer has to have");
  command
      ->add_option("--checkpoint", arguments->checkpoint,
                   "Folder of a checkpoint to ask, without a server: llavad is started for it")
      ->excludes("--server");
  command->add_option("--llavad", arguments->llavad, "Program that serves --checkpoint")
      ->capture_default_str();
  command->add_option("--max-tokens", arguments->max_tokens, "Tokens of an answer at most")
      ->check(Positive())
      ->capture_default_str();
  command->add_option("--temperature", arguments->temperature, "0 takes the likeliest token")
      ->check(CLI::Range(0.0, 100.0))
      ->capture_default_str();
  command->add_option("--concurrency", batch.concurrency, "Requests under way at a time")
      ->check(CLI::Range(1, 10000))
      ->capture_default_str();
  command->callback([arguments, exit_code] { *exit_code = Run(*arguments); });
}

}  // namespace llava::client
