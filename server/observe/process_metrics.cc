#include "server/observe/process_metrics.h"

#include <dirent.h>
#include <sys/resource.h>
#include <unistd.h>

#include <fstream>
#include <iterator>
#include <optional>
#include <sstream>
#include <string>

namespace llava::observe {
namespace {

using prometheus::MetricFamily;
using prometheus::MetricType;

MetricFamily One(const char* name, const char* help, MetricType type, double value) {
  MetricFamily family;
  family.name = name;
  family.help = help;
  family.type = type;
  prometheus::ClientMetric metric;
  if (type == MetricType::Counter) {
    metric.counter.value = value;
  } else {
    metric.gauge.value = value;
  }
  family.metric.push_back(metric);
  return family;
}

// The fields of /proc/self/stat behind the name, which may hold spaces: [0] is the state, field 3
// of proc(5).
std::vector<std::string> StatFields() {
  std::ifstream file("/proc/self/stat");
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  const std::size_t end = text.rfind(')');
  if (end == std::string::npos) return {};
  std::istringstream rest(text.substr(end + 1));
  return {std::istream_iterator<std::string>(rest), {}};
}

std::optional<double> BootTime() {
  std::ifstream file("/proc/stat");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("btime ")) return std::stod(line.substr(6));
  }
  return std::nullopt;
}

std::optional<double> OpenFiles() {
  DIR* const folder = opendir("/proc/self/fd");
  if (folder == nullptr) return std::nullopt;
  double count = -1;  // the folder itself
  while (const dirent* entry = readdir(folder)) {
    if (entry->d_name[0] != '.') ++count;
  }
  closedir(folder);
  return count;
}

}  // namespace

std::vector<MetricFamily> ProcessMetrics::Collect() const {
  std::vector<MetricFamily> all;
  const std::vector<std::string> stat = StatFields();
  if (stat.size() > 21) {
    const double ticks = static_cast<double>(sysconf(_SC_CLK_TCK));
    const double page = static_cast<double>(sysconf(_SC_PAGESIZE));
    all.push_back(One("process_cpu_seconds_total", "User and system CPU time.", MetricType::Counter,
                      (std::stod(stat[11]) + std::stod(stat[12])) / ticks));
    all.push_back(One("process_threads", "Threads now.", MetricType::Gauge, std::stod(stat[17])));
    all.push_back(One("process_virtual_memory_bytes", "Virtual memory.", MetricType::Gauge,
                      std::stod(stat[20])));
    all.push_back(One("process_resident_memory_bytes", "Resident memory.", MetricType::Gauge,
                      std::stod(stat[21]) * page));
    if (const auto boot = BootTime()) {
      all.push_back(One("process_start_time_seconds", "Start, in seconds since 1970.",
                        MetricType::Gauge, *boot + std::stod(stat[19]) / ticks));
    }
  }
  if (const auto files = OpenFiles()) {
    all.push_back(One("process_open_fds", "Open file descriptors.", MetricType::Gauge, *files));
  }
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
    all.push_back(One("process_max_fds", "Most open file descriptors allowed.", MetricType::Gauge,
                      static_cast<double>(limit.rlim_cur)));
  }
  return all;
}

}  // namespace llava::observe
