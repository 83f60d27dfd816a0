// Any folder where versions are published, with links, pipes, sockets and folders where files are
// expected: nothing throws, waits or leaves the folder, and what is called good has its hashes.
// Input: entries of three bytes each (what, where, a further place), then a zero byte and the text
// of every file in it; a text that is a manifest is written again as the same manifest.
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "model/checkpoint/manifest.h"
#include "server/registry/published.h"

namespace llava::registry {
namespace {

namespace fs = std::filesystem;

constexpr std::array<const char*, 12> kPlaces = {
    ".",  "latest",           "v1", "v1/manifest.json", "v1/a",    "v1/sub", "v1/.b",
    "v2", "v2/manifest.json", "..", ".rolled-back",     "v1/sub/a"};

void Bind(const std::string& path) {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof(address.sun_path)) return;
  path.copy(address.sun_path, path.size());
  const int fd = socket(AF_UNIX, SOCK_STREAM, 0);
  (void)bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address));
  close(fd);
}

void Make(int what, const std::string& path, const std::string& other, std::string_view text) {
  std::error_code ignored;
  switch (what % 7) {
    case 0: {
      const fs::file_status status = fs::status(path, ignored);
      if (fs::exists(status) && !fs::is_regular_file(status)) return;  // a pipe would be waited for
      std::ofstream(path).write(text.data(), static_cast<std::streamsize>(text.size()));
      return;
    }
    case 1:
      fs::create_directory(path, ignored);
      return;
    case 2:
      fs::create_symlink(other, path, ignored);
      return;
    case 3:
      (void)mkfifo(path.c_str(), 0600);
      return;
    case 4:
      return Bind(path);
    case 5:
      fs::rename(path, path + "x", ignored);
      return;
    default:
      fs::remove(path, ignored);
  }
}

void CheckManifest(std::string_view text) {
  const auto manifest = model::ParseManifest(text);
  if (!manifest.ok()) {
    LLAVA_CHECK(manifest.status().code() == absl::StatusCode::kInvalidArgument);
    return;
  }
  const auto again = model::ParseManifest(model::ManifestJson(*manifest));
  LLAVA_CHECK(again.ok());
  LLAVA_CHECK(*again == *manifest);
}

void LookAt(const std::string& root) {
  (void)ReadLatestLink(root);
  (void)ReadRollbackNote(root, Digest());
  (void)FolderFingerprint(root);
  for (const std::string& folder : ListVersions(root)) {
    (void)FolderFingerprint(folder);
    (void)model::DescribeFiles(folder);
    const auto version = model::ReadManifest(folder);
    if (version.ok()) (void)model::VerifyFiles(version->manifest, folder);
  }
  (void)model::ReadManifest(root + "/latest");
  (void)WriteRollbackNote(root, Digest(), "odd");
  DeleteRollbackNote(root, Digest());
}

}  // namespace
}  // namespace llava::registry

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  namespace registry = llava::registry;
  static const std::string base = absl::StrCat("/tmp/published_fuzz.", getpid());
  const std::string root = base + "/models";
  std::filesystem::create_directories(root);
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const std::size_t end = std::min(input.find('\0'), input.size());
  const std::string_view text = input.substr(std::min(end + 1, size));
  registry::CheckManifest(text);
  const auto place = [&](std::uint8_t byte) {
    return absl::StrCat(root, "/", registry::kPlaces[byte % registry::kPlaces.size()]);
  };
  for (std::size_t i = 0; i + 2 < end && i < 60; i += 3) {
    if (data[i + 1] % registry::kPlaces.size() == 9) continue;  // only links may lead out
    registry::Make(data[i], place(data[i + 1]), place(data[i + 2]), text);
  }
  registry::LookAt(root);
  std::error_code ignored;
  std::filesystem::remove_all(base, ignored);
  return 0;
}
