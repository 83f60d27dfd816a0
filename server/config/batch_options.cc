#include "server/config/config_sections.h"
#include "server/scheduling/limits.h"

namespace llava::server {
namespace {

constexpr Option kBatchOptions[] = {
    {"batch_dir", &Config::batch_dir,
     "Folder that keeps the files and batches of /v1/files and /v1/batches; it is made where there "
     "is none. One server at a time uses it. Empty: there are none."},
    {"batch_bytes",
     &Config::batch_bytes,
     "What the files there may have, inputs and outputs; more is refused.",
     Unit::kBytes,
     {1024, 1024 * 1024 * kGiB}},
    {"batch_tenant_bytes",
     &Config::batch_tenant_bytes,
     "Of batch_bytes, those of one tenant.",
     Unit::kBytes,
     {1024, 1024 * 1024 * kGiB}},
    {"batch_retention",
     &Config::batch_retention,
     "How long a file, and a batch that has ended, is kept at most.",
     Unit::kMilliseconds,
     {kHour, 365 * 24 * kHour}},
    {"batch_in_flight",
     &Config::batch_in_flight,
     "Requests of batches that are under way at a time; they have low priority.",
     Unit::kCount,
     {1, scheduling::kMaxRequests}},
};

}  // namespace

std::span<const Option> BatchOptions() { return kBatchOptions; }

}  // namespace llava::server
