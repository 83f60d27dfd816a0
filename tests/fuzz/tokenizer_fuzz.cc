// Any bytes as a tokenizer.model: an error, or a tokenizer whose ids are in its vocabulary.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/check.h"
#include "model/text/detokenizer.h"
#include "model/text/tokenizer.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  namespace model = llava::model;
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const auto tokenizer = model::Tokenizer::FromModel(bytes, {}, {});
  if (!tokenizer.ok()) return 0;
  const std::vector<int> ids = tokenizer->Encode("What is in the picture?\n </s> \xe6\x97\xa5");
  model::Detokenizer detokenizer(*tokenizer);
  std::string pieces;
  for (const int id : ids) {
    LLAVA_CHECK(id >= 0 && id < tokenizer->vocab_size());
    pieces += detokenizer.Push(id);
  }
  LLAVA_CHECK(pieces + detokenizer.Finish() == tokenizer->Decode(ids));
  return 0;
}
