// A folder for one test, removed with everything in it.
#ifndef LLAVA_TESTS_SUPPORT_TEMP_DIR_H_
#define LLAVA_TESTS_SUPPORT_TEMP_DIR_H_

#include <stdlib.h>

#include <filesystem>
#include <string>

#include "base/check.h"

namespace llava::test {

class TempDir {
 public:
  TempDir() : path_((std::filesystem::temp_directory_path() / "llava-test-XXXXXX").string()) {
    LLAVA_CHECK(::mkdtemp(path_.data()) != nullptr);
  }
  ~TempDir() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;

  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

}  // namespace llava::test

#endif  // LLAVA_TESTS_SUPPORT_TEMP_DIR_H_
