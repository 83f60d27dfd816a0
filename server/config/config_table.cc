#include "server/config/config_table.h"

#include <array>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "server/config/config_sections.h"

namespace llava::server {

std::span<const Section> Sections() {
  static const std::array kSections = {
      Section{"Model", ModelOptions()},
      Section{"Reload", ReloadOptions()},
      Section{"Canary", CanaryOptions()},
      Section{"Engine", EngineOptions()},
      Section{"Network", NetworkOptions()},
      Section{"Security", SecurityOptions()},
      Section{"Requests", RequestOptions()},
      Section{"Queue", QueueOptions()},
      Section{"Batches", BatchOptions()},
      Section{"Capture", CaptureOptions()},
      Section{"Log, traces, metrics", LogOptions()},
  };
  return kSections;
}

const Option* FindOption(absl::string_view name) {
  for (const Section& section : Sections()) {
    for (const Option& option : section.options) {
      if (option.name == name) return &option;
    }
  }
  return nullptr;
}

std::string FlagOf(const Option& option) {
  return absl::StrCat("--", absl::StrReplaceAll(option.name, {{"_", "-"}}));
}

}  // namespace llava::server
