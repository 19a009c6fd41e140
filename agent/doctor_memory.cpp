// SPDX-License-Identifier: Apache-2.0
// The doctor's lines about memory. What is the operator's choice (swap, THP,
// KSM, ...) is told with what it means, and is never missing.
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "agent/doctor_host.h"
#include "agent/memory_files.h"
#include "agent/memory_limits.h"

namespace outrider {
namespace {

using enum DoctorState;

constexpr std::size_t kFileBytesMax = 1024UL * 1024;  // zoneinfo, of many CPUs

std::string mib(Bytes bytes) {
  return std::to_string(bytes.count() / (1024 * 1024)) + " MiB";
}

// The first word of a file; empty: it is not there.
std::string word_of(int directory, const std::string& path) {
  auto text = read_text_at(directory, path, 256);
  const auto words =
      text ? split(*text, " \n") : std::vector<std::string_view>{};
  return words.empty() ? std::string{} : std::string{words[0]};
}

// "always [madvise] never": the one in brackets.
std::string chosen_of(int directory, const std::string& path) {
  auto text = read_text_at(directory, path, 256);
  if (!text) return {};
  const std::size_t start = text->find('[');
  const std::size_t end = text->find(']');
  if (start == std::string::npos || end == std::string::npos || end < start) {
    return {};
  }
  return text->substr(start + 1, end - start - 1);
}

// "HugePages_Total:     512": its number.
std::uint64_t meminfo_number(std::string_view text, std::string_view key) {
  for (const std::string_view line : split(text, "\n")) {
    const auto words = split(line, ": ");
    if (words.size() >= 2 && words[0] == key) {
      return parse_number(words[1]).value_or(0);
    }
  }
  return 0;
}

DoctorLine vms_line(const DoctorHost& host) {
  const std::size_t all = host.vms.vms.size();
  if (all == 0) return ok_line("memory", "of VMs", "no VM runs here");
  std::size_t seen = 0;
  std::string why = host.cgroup_error;
  for (const VmIdentity& vm : host.vms.vms) {
    if (!host.cgroups) continue;
    auto cgroup = find_memory_cgroup(host.proc, *host.cgroups, vm);
    if (cgroup) {
      ++seen;
    } else if (why.empty()) {
      why = cgroup.error().what;
    }
  }
  const std::string count =
      std::to_string(seen) + " of " + std::to_string(all) + " by their cgroups";
  if (seen == all) return ok_line("memory", "of VMs", count);
  return {"memory",
          "of VMs",
          kDegraded,
          count + " (" + why + ")",
          "what the others use is not seen, and no memory is kept for them",
          "give each VM a cgroup of its own, with the memory controller"};
}

DoctorLine pressure_line(const DoctorHost& host) {
  auto text = read_text_at(host.proc.fd(), "pressure/memory", 4096);
  if (text && parse_pressure(*text)) {
    return ok_line("memory", "pressure", "PSI is counted");
  }
  const int code = text ? EPROTO : text.error().code;
  const bool is_off = code == EOPNOTSUPP;
  return {"memory",
          "pressure",
          kMissing,
          code == ENOENT ? "not in this kernel"
          : is_off       ? "switched off"
                         : std::strerror(code),
          "how long a VM waits for memory is not seen",
          is_off ? "boot with psi=1" : "use a kernel with CONFIG_PSI=y"};
}

DoctorLine free_line(const DoctorHost& host, const std::string& meminfo) {
  const auto amounts = parse_meminfo(meminfo);
  ZoneinfoParser parser{Bytes{::sysconf(_SC_PAGESIZE)}};
  auto text = read_text_at(host.proc.fd(), "zoneinfo", kFileBytesMax);
  if (text) parser.add(*text);
  const auto zones = parser.finish();
  if (!amounts || !zones) {
    return {"memory",
            "free",
            kUnknown,
            amounts ? "no zoneinfo" : "no meminfo",
            "how near the host is to reclaiming cannot be told",
            ""};
  }
  const bool is_short = amounts->free < zones->low_watermark;
  return ok_line(
      "memory", "free",
      mib(amounts->free) + " of " + mib(amounts->total) + ", " +
          mib(amounts->available) +
          " can be had without swapping; the kernel reclaims below " +
          mib(zones->low_watermark) + " and up to " +
          mib(zones->high_watermark) + (is_short ? ": it does so now" : ""));
}

DoctorLine swap_line(const std::string& meminfo) {
  const auto amounts = parse_meminfo(meminfo);
  if (!amounts || amounts->swap_total == Bytes{}) {
    return ok_line("memory", "swap",
                   "none: a VM's memory that lies idle stays where it is");
  }
  return ok_line(
      "memory", "swap",
      mib(amounts->swap_total) + ", " + mib(amounts->swap_free) + " free");
}

DoctorLine zswap_line(const DoctorHost& host) {
  const std::string enabled =
      word_of(host.sys.get(), "module/zswap/parameters/enabled");
  std::string found = "off";
  if (enabled.empty()) found = "not in this kernel";
  if (enabled == "Y") {
    found = "on: what is swapped out stays in memory first, compressed (" +
            word_of(host.sys.get(), "module/zswap/parameters/compressor") + ")";
  }
  return ok_line("memory", "zswap", found);
}

DoctorLine thp_line(const DoctorHost& host) {
  const std::string chosen =
      chosen_of(host.sys.get(), "kernel/mm/transparent_hugepage/enabled");
  std::string found = chosen.empty() ? "not in this kernel" : chosen;
  if (chosen == "always") {
    found += ": VMs grow by 2 MiB at a touch, where such pages are free";
  } else if (chosen == "madvise") {
    found += ": VMs grow by 2 MiB at a touch, as QEMU asks for it";
  } else if (chosen == "never") {
    found += ": VMs grow by 4 KiB at a touch, with 512 times the faults";
  }
  return ok_line("memory", "huge pages, transparent", found);
}

DoctorLine hugetlb_line(const std::string& meminfo) {
  const std::uint64_t total = meminfo_number(meminfo, "HugePages_Total");
  std::string found = "none set aside";
  if (total != 0) {
    found = std::to_string(total) + " of " +
            std::to_string(meminfo_number(meminfo, "Hugepagesize")) + " kB, " +
            std::to_string(meminfo_number(meminfo, "HugePages_Free")) +
            " free: no cgroup counts them, and none can be reclaimed";
  }
  return ok_line("memory", "huge pages, set aside", found);
}

DoctorLine ksm_line(const DoctorHost& host) {
  const std::string run = word_of(host.sys.get(), "kernel/mm/ksm/run");
  std::string found = "off";
  if (run.empty()) found = "not in this kernel";
  if (run == "1") {
    found = "on: " + word_of(host.sys.get(), "kernel/mm/ksm/pages_sharing") +
            " pages are saved, and needed again as VMs write to them";
  }
  return ok_line("memory", "same-page merging", found);
}

DoctorLine numa_line(const DoctorHost& host) {
  const std::string balancing =
      word_of(host.proc.fd(), "sys/kernel/numa_balancing");
  std::string found = "off, or one node";
  if (balancing.empty()) found = "not in this kernel";
  if (!balancing.empty() && balancing != "0") {
    found =
        "on: the kernel moves pages between nodes, and faults to find out "
        "which";
  }
  return ok_line("memory", "NUMA balancing", found);
}

}  // namespace

void add_memory_lines(const DoctorHost& host, std::vector<DoctorLine>& lines) {
  const std::string meminfo =
      read_text_at(host.proc.fd(), "meminfo", 16UL * 1024).value_or("");
  lines.push_back(vms_line(host));
  lines.push_back(pressure_line(host));
  lines.push_back(free_line(host, meminfo));
  lines.push_back(swap_line(meminfo));
  lines.push_back(zswap_line(host));
  lines.push_back(thp_line(host));
  lines.push_back(hugetlb_line(meminfo));
  lines.push_back(ksm_line(host));
  lines.push_back(numa_line(host));
  const auto programs = host.calls.probe_memory_programs();
  lines.insert(lines.end(), programs.begin(), programs.end());
}

}  // namespace outrider
