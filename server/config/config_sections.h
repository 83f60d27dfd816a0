// The rows of each section of the table, for config_table.cc alone; and the words that they share.
#ifndef LLAVA_SERVER_CONFIG_CONFIG_SECTIONS_H_
#define LLAVA_SERVER_CONFIG_CONFIG_SECTIONS_H_

#include <cstdint>
#include <span>

#include "server/config/config_table.h"

namespace llava::server {

inline constexpr std::int64_t kSecond = 1000;  // of Unit::kMilliseconds
inline constexpr std::int64_t kHour = 3600 * kSecond;
inline constexpr std::int64_t kGiB = std::int64_t{1} << 30;  // of Unit::kBytes

std::span<const Option> ModelOptions();
std::span<const Option> ReloadOptions();
std::span<const Option> CanaryOptions();
std::span<const Option> EngineOptions();
std::span<const Option> NetworkOptions();
std::span<const Option> SecurityOptions();
std::span<const Option> RequestOptions();
std::span<const Option> QueueOptions();
std::span<const Option> BatchOptions();
std::span<const Option> CaptureOptions();
std::span<const Option> LogOptions();

}  // namespace llava::server

#endif  // LLAVA_SERVER_CONFIG_CONFIG_SECTIONS_H_
