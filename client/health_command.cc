#include "client/health_command.h"

#include <grpc/support/time.h>

#include <CLI/CLI.hpp>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>

#include "client/connection.h"
#include "client/exit_code.h"
#include "grpc/health/v1/health.grpc.pb.h"

namespace llava::client {
namespace {

namespace health = grpc::health::v1;

struct Arguments {
  Connection connection;
  std::string service;
  double timeout = 5;
};

int Fail(const std::string& message, int exit_code) {
  std::fprintf(stderr, "llava health: %s\n", message.c_str());
  return exit_code;
}

int Run(const Arguments& arguments) {
  const auto channel = arguments.connection.Channel();
  if (!channel.ok()) return Fail(std::string(channel.status().message()), kRequestError);
  grpc::ClientContext context;
  context.set_deadline(
      gpr_time_from_millis(static_cast<std::int64_t>(1000 * arguments.timeout), GPR_TIMESPAN));
  health::HealthCheckRequest request;
  request.set_service(arguments.service);
  health::HealthCheckResponse response;
  const grpc::Status status =
      health::Health::NewStub(*channel)->Check(&context, request, &response);
  if (!status.ok()) return Fail(status.error_message(), ExitCodeOf(status));
  const auto serving = response.status();
  std::puts(health::HealthCheckResponse::ServingStatus_Name(serving).c_str());
  return serving == health::HealthCheckResponse::SERVING ? kOk : kServerError;
}

}  // namespace

void AddHealthCommand(CLI::App* app, int* exit_code) {
  auto arguments = std::make_shared<Arguments>();
  CLI::App* command = app->add_subcommand("health", "Ask whether a server serves");
  arguments->connection.AddFlags(command);
  command->add_option("--service", arguments->service,
                      "The service whose health is meant; without it: the server as a whole");
  command->add_option("--timeout", arguments->timeout, "Seconds to wait for an answer")
      ->check(CLI::Range(0.001, 3600.0))
      ->capture_default_str();
  command->callback([arguments, exit_code] { *exit_code = Run(*arguments); });
}

}  // namespace llava::client
