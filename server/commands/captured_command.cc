#include "server/commands/captured_command.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <limits>
#include <memory>
#include <set>
#include <system_error>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "base/field_error.h"
#include "base/status_macros.h"
#include "capture/selection.h"
#include "capture/shard.h"
#include "capture/store.h"
#include "capture/trainings.h"

namespace llava {
namespace {

constexpr char kAnswerPrefix[] = "chatcmpl-";

absl::Status CheckFolder(const std::string& dir) {
  std::error_code error;
  if (std::filesystem::is_directory(capture::ShardsFolder(dir), error)) return absl::OkStatus();
  return absl::NotFoundError(
      absl::StrCat(dir, " has no folder shards, expected the capture_dir of a llavad"));
}

std::string VersionsOf(const std::vector<capture::Training>& trainings, const std::string& shard) {
  std::set<std::string> versions;
  std::size_t runs = 0;
  for (const capture::Training& training : trainings) {
    const auto& shards = training.shards;
    if (std::find(shards.begin(), shards.end(), shard) == shards.end()) continue;
    ++runs;
    for (const std::string& version : training.versions) versions.insert(version.substr(0, 12));
  }
  if (runs == 0) return "never trained on";
  if (versions.empty()) return absl::StrCat("taken by ", runs, " runs, nothing was published");
  return absl::StrCat("trained on: ", absl::StrJoin(versions, " "));
}

// A server, or another of these commands, has the folder otherwise: nothing expires meanwhile.
capture::Store::Options OptionsOf(const std::string& dir) {
  return {.dir = dir,
          .bytes = std::numeric_limits<std::int64_t>::max(),
          .retention = Duration::max(),
          .shard_time = Duration::max()};
}

struct Arguments {
  std::string dir;
  std::string forget;
  std::string tenant = "default";
};

}  // namespace

absl::StatusOr<std::string> CapturedShards(const std::string& dir) {
  RETURN_IF_ERROR(CheckFolder(dir));
  ASSIGN_OR_RETURN(const std::vector<std::string> names, capture::ListShards(dir));
  ASSIGN_OR_RETURN(const std::vector<capture::Training> trainings, capture::ReadTrainings(dir));
  std::string text;
  for (const std::string& name : names) {
    ASSIGN_OR_RETURN(const capture::Choice all,
                     capture::Choose(dir, {name}, {},
                                     [](const capture::ChosenRow&) { return absl::OkStatus(); }));
    for (const capture::DamagedShard& shard : all.set_aside) {
      absl::StrAppend(&text, name, "  is damaged: ", shard.why, "; ", VersionsOf(trainings, name),
                      "\n");
    }
    if (!all.set_aside.empty()) continue;
    absl::StrAppend(&text, name, "  ", all.of, " rows: ", all.up, " up, ", all.down, " down, ",
                    all.corrected, " corrected, ", all.unrated, " unrated, ", all.removed,
                    " to be forgotten; ", capture::FolderBytes(capture::ShardFolder(dir, name)),
                    " bytes; ", VersionsOf(trainings, name), "\n");
  }
  return text.empty() ? "no closed shard\n" : text;
}

absl::StatusOr<std::string> ForgetCaptured(const std::string& dir, const std::string& tenant,
                                           const std::string& id, const Clock& clock) {
  RETURN_IF_ERROR(CheckFolder(dir));
  absl::StatusOr<std::unique_ptr<capture::Store>> store =
      capture::Store::Open(OptionsOf(dir), &clock);
  if (absl::IsUnavailable(store.status())) {
    return absl::UnavailableError(
        absl::StrCat(dir, ": a server captures there: ask it, with DELETE /v1/feedback/", id));
  }
  RETURN_IF_ERROR(store.status());
  const std::string answer(absl::StripPrefix(id, kAnswerPrefix));
  ASSIGN_OR_RETURN(const capture::Removed removed, (*store)->Remove(tenant, answer));
  std::string text = absl::StrCat("deleted ", removed.deleted, " rows\n");
  if (removed.kept == 0) return text;
  absl::StrAppend(&text, "marked ", removed.kept, " rows that were trained on\n");
  for (const std::string& version : removed.versions) {
    absl::StrAppend(&text, "version ", version, "\n");
  }
  for (const std::string& run : removed.runs) {
    absl::StrAppend(&text, "run ", run, " has a copy\n");
  }
  return text;
}

void AddCapturedCommand(CLI::App& app, int* exit_code) {
  auto arguments = std::make_shared<Arguments>();
  CLI::App* command = app.add_subcommand(
      "captured", "Lists the shards of captured turns, or removes a conversation from them");
  command->add_option("DIR", arguments->dir, "The capture_dir of a llavad")->required();
  CLI::Option* forget = command->add_option(
      "--forget", arguments->forget,
      "Id of an answer: its conversation is deleted where nothing was trained on it, and the "
      "versions are named that were");
  command->add_option("--tenant", arguments->tenant, "Whose answer (default)")->needs(forget);
  command->callback([arguments, exit_code] {
    const RealClock clock;
    const absl::StatusOr<std::string> said =
        arguments->forget.empty()
            ? CapturedShards(arguments->dir)
            : ForgetCaptured(arguments->dir, arguments->tenant, arguments->forget, clock);
    if (said.ok()) {
      std::fputs(said->c_str(), stdout);
      return;
    }
    std::fprintf(stderr, "llavad captured: %s\n", MessageOf(said.status()).c_str());
    *exit_code = 1;
  });
}

}  // namespace llava
