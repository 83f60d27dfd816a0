#include "client/bench_command.h"

#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <cstdio>
#include <fstream>
#include <memory>
#include <string>

#include "base/clock.h"
#include "base/command_line/numbers.h"
#include "client/connection.h"
#include "client/exit_code.h"
#include "client/load_generator.h"

namespace llava::client {
namespace {

struct BenchOptions {
  Connection connection;
  LoadOptions load;
  int warmup = 4;
  std::string output;
};

double Number(const boost::json::object& result, const char* group, const char* name) {
  return result.at(group).at(name).to_number<double>();
}

void PrintTable(const boost::json::object& result) {
  std::printf("%-22s %10.2f\n", "requests/s", result.at("requests_per_second").to_number<double>());
  std::printf("%-22s %10.2f\n", "output tokens/s",
              result.at("output_tokens_per_second").to_number<double>());
  std::printf("%-22s %10s %10s %10s %10s\n", "milliseconds", "p50", "p90", "p99", "max");
  for (const char* group :
       {"time_to_first_token_seconds", "inter_token_seconds", "request_seconds"}) {
    std::printf("%-28.*s", static_cast<int>(std::string(group).rfind('_')), group);
    for (const char* name : {"p50", "p90", "p99", "max"}) {
      std::printf(" %10.2f", Number(result, group, name) * 1000);
    }
    std::putchar('\n');
  }
  for (const auto& error : result.at("errors").as_object()) {
    std::printf("error %-16s %10lld\n", std::string(error.key()).c_str(),
                static_cast<long long>(error.value().to_number<std::int64_t>()));
  }
}

int Run(const BenchOptions& options) {
  auto stub = options.connection.Stub();
  if (!stub.ok()) {
    std::fprintf(stderr, "llava: %s\n", std::string(stub.status().message()).c_str());
    return kRequestError;
  }
  const RealClock clock;
  LoadGenerator generator(&options.connection, stub->get(), &clock);
  std::printf("seed %llu\n", static_cast<unsigned long long>(options.load.seed));
  if (options.warmup > 0) {
    LoadOptions warmup = options.load;
    warmup.seed += 1'000'000;
    warmup.requests = options.warmup;
    warmup.rate = 0;
    generator.Run(warmup);
  }
  boost::json::object result = Summarize(generator.Run(options.load));
  result["mode"] = options.load.rate > 0 ? "open" : "closed";
  result["seed"] = options.load.seed;
  PrintTable(result);
  if (!options.output.empty()) {
    std::ofstream file(options.output);
    file << boost::json::serialize(result) << '\n';
    if (!file.flush()) {
      std::fprintf(stderr, "llava: %s: cannot be written\n", options.output.c_str());
      return kRequestError;
    }
  }
  const auto& errors = result.at("errors").as_object();
  if (errors.empty()) return kOk;
  return errors.contains("UNAVAILABLE") ? kNetworkError : kServerError;
}

}  // namespace

void AddBenchCommand(CLI::App* app, int* exit_code) {
  CLI::App* command = app->add_subcommand("bench", "Load test with generated pictures");
  command->footer(
      "Times count from when a request was to be sent. An event of a stream may hold several\n"
      "tokens: they share the time since the event before it, so that an inter-token time is\n"
      "always that of one token.\n" +
      command->get_footer());
  auto options = std::make_shared<BenchOptions>();
  LoadOptions& load = options->load;
  options->connection.AddFlags(command);
  command->add_option("--requests", load.requests, "Requests to measure")
      ->check(Positive())
      ->capture_default_str();
  command->add_option("--warmup", options->warmup, "Requests before that")->capture_default_str();
  command->add_option("--concurrency", load.concurrency, "Closed loop: requests under way")
      ->check(Positive())
      ->capture_default_str();
  command->add_option("--rate", load.rate, "Open loop instead: requests a second, Poisson")
      ->check(NotNegative());
  command->add_option("--images", load.images, "Pictures of a request")->capture_default_str();
  command->add_option("--image-side", load.image_side, "Their width and height in pixels")
      ->check(CLI::Range(1, 16384))
      ->capture_default_str();
  command
      ->add_option("--pictures", load.distinct_images,
                   "Different pictures; 0: never the same twice")
      ->capture_default_str();
  command->add_option("--prompt-words", load.prompt_words, "Words of a question")
      ->capture_default_str();
  command->add_option("--max-tokens", load.max_tokens, "Tokens of every answer")
      ->check(Positive())
      ->capture_default_str();
  command->add_option("--temperature", load.temperature, "Of sampling; 0: greedy")
      ->capture_default_str();
  command->add_option("--top-p", load.top_p, "Of sampling")->capture_default_str();
  command->add_option("--seed", load.seed, "Of pictures, words and times")->capture_default_str();
  command->add_option("--output", options->output, "File for the result as JSON");
  command->callback([options, exit_code] { *exit_code = Run(*options); });
}

}  // namespace llava::client
