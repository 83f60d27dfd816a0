// The ids of texts, for scripts/tokenizer-corpus: tokenize_lines DIR TEXTS [original] reads texts
// from the file TEXTS, each as its number of bytes on a line of its own and then these bytes, and
// writes the ids of each on a line.
#include <cstdio>
#include <fstream>
#include <string>

#include "absl/strings/str_join.h"
#include "model/text/tokenizer.h"

int main(int argc, char** argv) {
  using llava::model::Layout;
  if (argc < 3) {
    std::fputs("usage: tokenize_lines DIR TEXTS [original]\n", stderr);
    return 2;
  }
  const bool original = argc > 3 && std::string(argv[3]) == "original";
  const auto tokenizer =
      llava::model::Tokenizer::Load(argv[1], original ? Layout::kOriginal : Layout::kHuggingFace);
  if (!tokenizer.ok()) {
    std::fprintf(stderr, "%s\n", tokenizer.status().ToString().c_str());
    return 1;
  }
  std::ifstream in(argv[2], std::ios::binary);
  for (std::string line; std::getline(in, line);) {
    std::string text(std::stoul(line), '\0');
    if (!in.read(text.data(), static_cast<std::streamsize>(text.size()))) return 1;
    std::printf("%s\n", absl::StrJoin(tokenizer->Encode(text), " ").c_str());
  }
  return 0;
}
