#include "training/generate/few_shot.h"

#include <algorithm>
#include <filesystem>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/status_macros.h"

namespace llava::training {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMaxFileBytes = std::size_t{1} << 20;
constexpr char kCaptions[] = "_caps.txt";
constexpr char kAnswer[] = "_conv.txt";

}  // namespace

absl::StatusOr<FewShot> ReadFewShot(const std::string& folder) {
  FewShot few_shot;
  ASSIGN_OR_RETURN(few_shot.system, ReadFile(folder + "/system_message.txt", kMaxFileBytes));
  std::vector<std::string> stems;
  std::error_code error;
  for (fs::directory_iterator at(folder, error), end; !error && at != end; at.increment(error)) {
    const std::string name = at->path().string();
    if (absl::EndsWith(name, kCaptions)) {
      stems.push_back(name.substr(0, name.size() - std::string_view(kCaptions).size()));
    }
  }
  std::sort(stems.begin(), stems.end());
  for (const std::string& stem : stems) {
    ASSIGN_OR_RETURN(std::string captions, ReadFile(stem + kCaptions, kMaxFileBytes));
    ASSIGN_OR_RETURN(std::string answer, ReadFile(stem + kAnswer, kMaxFileBytes));
    few_shot.samples.emplace_back(std::move(captions), std::move(answer));
  }
  return few_shot;
}

std::string QueryText(const PictureContext& context, bool boxes) {
  const std::string captions = CaptionText(context);
  return boxes ? absl::StrCat(captions, "\n\n", BoxText(context)) : captions;
}

std::vector<EndpointMessage> FewShotMessages(const FewShot& few_shot, const std::string& query) {
  std::vector<EndpointMessage> messages = {{"system", {}, few_shot.system}};
  for (const auto& [captions, answer] : few_shot.samples) {
    messages.push_back({"user", {}, captions});
    messages.push_back({"assistant", {}, answer});
  }
  messages.push_back({"user", {}, query});
  return messages;
}

}  // namespace llava::training
