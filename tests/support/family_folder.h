// A checkpoint of tests/golden/data/families with the tokenizer that it shares with others.
#ifndef LLAVA_TESTS_SUPPORT_FAMILY_FOLDER_H_
#define LLAVA_TESTS_SUPPORT_FAMILY_FOLDER_H_

#include <filesystem>
#include <string>

#include "tests/support/temp_dir.h"

namespace llava::test {

inline constexpr char kFamilies[] = "tests/golden/data/families";
inline constexpr char kFamilyImages[] = "tests/golden/data/families/images";

// A copy, which tests may change.
class FamilyFolder {
 public:
  explicit FamilyFolder(const std::string& family) {
    namespace fs = std::filesystem;
    fs::copy(std::string(kFamilies) + "/" + family + "/checkpoint", dir_.path());
    for (const char* file : {"/tokenizer.json", "/tokenizer_config.json"}) {
      const std::string shared = std::string("tests/golden/data/checkpoint") + file;
      fs::copy(shared, dir_.path() + file, fs::copy_options::skip_existing);
    }
  }

  const std::string& path() const { return dir_.path(); }

 private:
  TempDir dir_;
};

}  // namespace llava::test

#endif  // LLAVA_TESTS_SUPPORT_FAMILY_FOLDER_H_
