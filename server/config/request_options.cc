#include "server/config/config_sections.h"
#include "server/scheduling/limits.h"

namespace llava::server {
namespace {

constexpr Option kRequestOptions[] = {
    {"request_timeout",
     &Config::request_timeout,
     "Longest life of a request, and that of those without a deadline.",
     Unit::kMilliseconds,
     {kSecond, 24 * kHour}},
    {"drain_timeout",
     &Config::drain_timeout,
     "How long SIGTERM lets accepted requests finish.",
     Unit::kMilliseconds,
     {0, 24 * kHour}},
    {"prepare_threads",
     &Config::prepare_threads,
     "Threads that decode pictures and tokenize prompts; one more tokenizes alone, so that texts "
     "do not wait for pictures. auto: one for four CPUs, at least 2.",
     Unit::kCount,
     {1, 256}},
    {"max_messages",
     &Config::max_messages,
     "Messages of one conversation.",
     Unit::kCount,
     {1, 100'000}},
    {"max_images", &Config::max_images, "Pictures of one request.", Unit::kCount, {0, 1024}},
    {"max_image_bytes",
     &Config::max_image_bytes,
     "Size of one picture's file.",
     Unit::kBytes,
     {1024, kGiB}},
    {"max_image_pixels",
     &Config::max_image_pixels,
     "Width times height of one picture, checked before it is decoded.",
     Unit::kPixels,
     {1, 1'000'000'000}},
    {"max_text_bytes",
     &Config::max_text_bytes,
     "All text of one request.",
     Unit::kBytes,
     {1, kGiB}},
    {"max_n",
     &Config::max_n,
     "Answers of one request; max_running bounds them too.",
     Unit::kCount,
     {1, scheduling::kMaxChoices}},
};

}  // namespace

std::span<const Option> RequestOptions() { return kRequestOptions; }

}  // namespace llava::server
