// Which tokens may come next in an answer that has to have a form: asked by whatever samples, made
// by GrammarCompiler.
#ifndef LLAVA_MODEL_GRAMMAR_TOKEN_CONSTRAINT_H_
#define LLAVA_MODEL_GRAMMAR_TOKEN_CONSTRAINT_H_

#include <cstdint>
#include <memory>
#include <span>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace llava::model {

// Where one answer stands. Used by one thread at a time. After an error it is of no more use.
class ConstrainedAnswer {
 public:
  virtual ~ConstrainedAnswer() = default;

  // The tokens that may come next: token t is bit t % 32 of word t / 32; those beyond are not
  // allowed. A token that ends the answer is allowed only where the form is complete. Valid until
  // the next call. RESOURCE_EXHAUSTED when it takes more work than one token may.
  virtual absl::StatusOr<std::span<const std::uint32_t>> Allowed() = 0;

  // The answer goes on with `token`. INVALID_ARGUMENT when it was not allowed.
  virtual absl::Status Append(std::int32_t token) = 0;
};

// The form of an answer, for the tokens of one model. Immutable to its users; any thread.
class TokenConstraint {
 public:
  virtual ~TokenConstraint() = default;

  // An answer that has no token yet. Quick: it may be called between two steps.
  virtual std::unique_ptr<ConstrainedAnswer> Begin() const = 0;

  // The same of one of a request's choices, which its seed tells from the others.
  virtual std::unique_ptr<ConstrainedAnswer> BeginChoice(std::uint64_t seed) const {
    static_cast<void>(seed);
    return Begin();
  }
};

}  // namespace llava::model

#endif  // LLAVA_MODEL_GRAMMAR_TOKEN_CONSTRAINT_H_
