#include "tests/simulation/cache_ledger.h"

#include <set>
#include <string>

#include "absl/strings/str_cat.h"
#include "server/scheduling/limits.h"

namespace llava::simulation {
namespace {

using scheduling::ImageInput;
using scheduling::Request;

std::string DomainOf(const Request& request) {
  return absl::StrCat(request.version.Hex(), "/", request.cache_domain.Hex());
}

Digest PictureOf(const Request& request, const ImageInput& image) {
  return Sha256Of(absl::StrCat(DomainOf(request), " picture ", image.digest.Hex()));
}

// The first block, the first two, and so on, of the prompt and `answer`.
std::vector<Digest> Beginnings(const Request& request, const std::vector<std::int32_t>& answer) {
  std::vector<std::string> words;
  for (const std::int32_t id : request.prompt_ids) words.push_back(absl::StrCat(id));
  for (const ImageInput& image : request.images) {
    for (int i = 0; i < image.count; ++i) {
      words[static_cast<std::size_t>(image.offset + i)] =
          absl::StrCat(i, " of ", image.digest.Hex());
    }
  }
  for (const std::int32_t id : answer) words.push_back(absl::StrCat(id));
  std::vector<Digest> beginnings;
  std::string block = DomainOf(request);
  for (std::size_t i = 0; i < words.size(); ++i) {
    absl::StrAppend(&block, ",", words[i]);
    if ((i + 1) % kKvBlockTokens != 0) continue;
    beginnings.push_back(Sha256Of(block));
    block = beginnings.back().Hex();
  }
  return beginnings;
}

template <typename... Parts>
absl::Status Wrong(const Request& request, const Parts&... parts) {
  return absl::InternalError(
      absl::StrCat("invariant 17: request ", request.id.value(), ": ", parts...));
}

}  // namespace

void CacheLedger::Add(const Request& request,
                      const std::vector<std::vector<std::int32_t>>& answers) {
  for (const ImageInput& image : request.images) Note(PictureOf(request, image), request.id);
  for (const std::vector<std::int32_t>& answer : answers) {
    for (const Digest& content : Beginnings(request, answer)) Note(content, request.id);
  }
}

absl::Status CacheLedger::Check(const Request& request, const scheduling::Usage& usage,
                                bool complete) const {
  int most = 0;
  for (const Digest& content : Beginnings(request, {})) {
    if (!HasOther(content, request.id)) break;
    most += kKvBlockTokens;
  }
  if (usage.cached_tokens > most) {
    return Wrong(request, usage.cached_tokens, " cached tokens, others of its domain have ", most);
  }
  std::set<Digest> new_pictures;
  for (const ImageInput& image : request.images) {
    const Digest picture = PictureOf(request, image);
    if (!HasOther(picture, request.id)) new_pictures.insert(picture);
  }
  if (complete && usage.images_encoded < static_cast<int>(new_pictures.size())) {
    return Wrong(request, usage.images_encoded, " pictures encoded, ", new_pictures.size(),
                 " are new to its domain");
  }
  return absl::OkStatus();
}

void CacheLedger::Note(const Digest& content, scheduling::RequestId id) {
  Bringers& bringers = contents_.try_emplace(content, Bringers{id}).first->second;
  bringers.others |= bringers.first != id;
}

bool CacheLedger::HasOther(const Digest& content, scheduling::RequestId id) const {
  const auto found = contents_.find(content);
  return found != contents_.end() && (found->second.others || found->second.first != id);
}

}  // namespace llava::simulation
