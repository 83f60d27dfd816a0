// Turns the token ids of one choice into text and finds its stop strings. The engine gets one for
// each choice, so that it knows no tokenizer.
#ifndef LLAVA_SERVER_ENGINE_TEXT_DECODER_H_
#define LLAVA_SERVER_ENGINE_TEXT_DECODER_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

namespace llava::engine {

// Engine thread only; must be quick (microseconds).
class TextDecoder {
 public:
  struct Delta {
    std::string text;      // valid UTF-8 that can be shown now; possibly empty
    bool stopped = false;  // a stop string is complete; `text` ends before it
  };

  virtual ~TextDecoder() = default;

  // Whether text may ever be `stopped`; always the same. Where it may not, tokens are pushed when
  // they are published, not when they are sampled.
  virtual bool may_stop() const { return true; }

  // Not called for the token that ends the answer (scheduling::IsEndToken), nor after `stopped`.
  virtual Delta Push(std::int32_t token) = 0;

  // The text that was held back, which may complete a stop string itself; called once, at the end,
  // unless `stopped`.
  virtual Delta Finish() = 0;
};

using TextDecoderFactory = std::function<std::unique_ptr<TextDecoder>()>;

}  // namespace llava::engine

#endif  // LLAVA_SERVER_ENGINE_TEXT_DECODER_H_
