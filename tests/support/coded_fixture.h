// Matrices as AWQ and GPTQ store them, packed as the formats are defined and not as they are read.
#ifndef LLAVA_TESTS_SUPPORT_CODED_FIXTURE_H_
#define LLAVA_TESTS_SUPPORT_CODED_FIXTURE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "base/rng.h"
#include "model/config/foreign_codes.h"
#include "tests/support/checkpoint_fixture.h"

namespace llava::model {

// A number is (code - zero point) * scale, exactly so in fp32.
struct CodedFixture {
  ForeignCodes codes;
  std::int64_t out = 0;
  std::int64_t in = 0;
  std::int64_t groups = 0;
  std::vector<std::int64_t> group_of = {};  // [in]
  std::vector<std::uint32_t> q = {};        // [out, in]
  std::vector<std::uint32_t> zeros = {};    // [groups, out]
  std::vector<std::uint16_t> steps = {};    // [groups, out], below 1024

  float Scale(std::int64_t group, std::int64_t row) const;
  float Number(std::int64_t row, std::int64_t k) const;
};

// Of that shape. Inputs are of groups in any order where `codes` says so. `symmetric`: every zero
// point is the middle, and no code is near the ends of the range.
CodedFixture RandomCodes(const ForeignCodes& codes, std::int64_t out, std::int64_t in,
                         bool symmetric, Rng& rng);

// MODULE.qweight, .qzeros, .scales (F16) and of GPTQ .g_idx.
FixtureTensors PackedCodes(const CodedFixture& matrix, const std::string& module);

// MODULE.weight: the numbers, F32.
FixtureTensors PlainNumbers(const CodedFixture& matrix, const std::string& module);

// The member of config.json for these codes.
std::string QuantizationConfig(const ForeignCodes& codes);

}  // namespace llava::model

#endif  // LLAVA_TESTS_SUPPORT_CODED_FIXTURE_H_
