// Any bytes as a tokenizer.json: an error, or a tokenizer whose ids are in its vocabulary.
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <utility>

#include "base/check.h"
#include "base/json_reader.h"
#include "model/text/tokenizer.h"
#include "model/text/tokenizer_json.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  namespace model = llava::model;
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const auto object = llava::ParseJsonObject(bytes, "tokenizer.json");
  if (!object.ok()) return 0;
  auto file = model::ReadTokenizerJson(*object, "tokenizer.json");
  if (!file.ok() || file->vocabulary == nullptr) return 0;
  const auto tokenizer = model::Tokenizer::FromVocabulary(
      std::move(file->vocabulary), std::move(file->added), std::move(file->settings));
  if (!tokenizer.ok()) return 0;
  for (const int id :
       tokenizer->Encode("abcabc ab cab <x> \xe6\x97\xa5 abababababababababababab")) {
    LLAVA_CHECK(id >= 0 && id < tokenizer->vocab_size());
  }
  return 0;
}
