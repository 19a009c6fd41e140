// SPDX-License-Identifier: Apache-2.0
#include <fmt/core.h>

#include <string>
#include <thread>
#include <vector>

#include "agent/discovery.h"
#include "agent/json.h"
#include "agent/memory_sensor.h"
#include "agent/sys/clock.h"
#include "tests/eyes/checks.h"
#include "tests/eyes/observer.h"

namespace outrider::check {
namespace {

std::int64_t ns_of(Instant instant) {
  return instant.time_since_epoch().count();
}

// A figure that is missing is -1, a group of them is left out.
template <class T>
void put(JsonText& json, std::string_view name, const std::optional<T>& value) {
  if (value) {
    json.member(name, *value);
  } else {
    json.member(name, std::int64_t{-1});
  }
}
void put(JsonText& json, std::string_view name,
         const std::optional<Bytes>& value) {
  json.member(name, value ? value->count() : -1);
}
void put(JsonText& json, std::string_view name,
         const std::optional<MemoryLimit>& limit) {
  if (!limit) return;
  json.key(name).object().member("own", limit->own.count());
  json.member("effective", limit->effective.count());
  json.member("binding", limit->binding).end();
}

void put(JsonText& json, const std::optional<MemoryPressure>& pressure) {
  if (!pressure) return;
  json.key("pressure").object().member("some_us", pressure->some_us);
  json.member("full_us", pressure->full_us).end();
}

void put(JsonText& json, const HostMemory& host) {
  json.key("host").object();
  if (host.amounts) {
    json.member("free", host.amounts->free.count());
    json.member("available", host.amounts->available.count());
    json.member("swap_free", host.amounts->swap_free.count());
  }
  if (host.zones) {
    json.member("low_watermark", host.zones->low_watermark.count());
    json.member("high_watermark", host.zones->high_watermark.count());
    json.key("nodes").array();
    for (const NodeMemory& node : host.zones->nodes()) {
      json.object().member("node", node.node);
      json.member("free", node.free.count()).end();
    }
    json.end();
  }
  if (host.activity) {
    json.member("alloc_stalls", host.activity->alloc_stalls);
    json.member("pages_scanned_direct", host.activity->pages_scanned_direct);
    json.member("swap_out_pages", host.activity->swap_out_pages);
    json.member("swap_in_pages", host.activity->swap_in_pages);
  }
  put(json, host.pressure);
  put(json, "memcg_reclaims", host.memcg_reclaims);
  json.member("resets", host.resets).end();
}

void put(JsonText& json, const VmMemory& vm) {
  json.object().member("is_gone", vm.is_gone).member("resets", vm.resets);
  put(json, "current", vm.current);
  put(json, "swap", vm.swap);
  put(json, vm.pressure);
  if (vm.events) json.member("high_events", vm.events->high);
  if (vm.stat) {
    json.key("stat").object().member("taken_ns", ns_of(vm.stat_taken));
    json.member("anon", vm.stat->anon.count());
    json.member("file", vm.stat->file.count());
    json.member("refaults_anon", vm.stat->refaults_anon);
    json.member("major_faults", vm.stat->major_faults);
    json.member("reclaim_stolen", vm.stat->reclaim_stolen).end();
  }
  put(json, "first_touches", vm.first_touches);
  put(json, "direct_reclaims", vm.direct_reclaims);
  put(json, "direct_reclaim_ns", vm.direct_reclaim_ns);
  put(json, "memcg_reclaims", vm.memcg_reclaims);
  put(json, "memcg_reclaim_ns", vm.memcg_reclaim_ns);
  put(json, "memcg_reclaimed_pages", vm.memcg_reclaimed_pages);
  json.end();
}

void print_line(const std::string& line) {
  fmt::print("{}\n", line);
  (void)std::fflush(stdout);  // who reads finds out for itself
}

struct Attached {
  std::vector<VmId> vms;
  std::vector<Error> refused;  // VMs whose memory cannot be seen here
};

Attached attach(MemorySensor& sensor, const ProcRoot& proc,
                const CgroupTree* cgroups, std::span<const pid_t> pids) {
  Attached all;
  for (const pid_t pid : pids) {
    Vm vm;
    vm.id = VmId{static_cast<std::uint32_t>(all.vms.size() + 1)};
    auto identity = identify(proc, cgroups, pid);
    if (!identity) give_up(identity.error().what);
    vm.identity = *std::move(identity);
    auto attached = sensor.attach(vm);
    if (attached) {
      all.vms.push_back(vm.id);
    } else {
      all.refused.push_back(std::move(attached.error()));
    }
  }
  return all;
}

// What is there to see, before the first figures.
void print_start(const MemorySensor& sensor, const Attached& attached,
                 Duration load) {
  std::string line;
  JsonText json{line};
  json.object().member("load_ns", load.count()).key("missing").array();
  for (const Error& missing : sensor.missing()) json.value(missing.what);
  for (const Error& refused : attached.refused) json.value(refused.what);
  json.end().key("vms").array();
  for (const VmId id : attached.vms) {
    json.object().member("cgroup", sensor.cgroup_of(id));
    auto limits = sensor.limits(id);
    if (!limits) give_up(limits.error().what);
    put(json, "min", limits->min);
    put(json, "low", limits->low);
    put(json, "high", limits->high);
    put(json, "max", limits->max);
    put(json, "swap_max", limits->swap_max);
    put(json, "zswap_max", limits->zswap_max);
    json.end();
  }
  json.end().end();
  print_line(line);
}

void print_sample(const MemorySample& sample, Duration cost) {
  std::string line;
  JsonText json{line};
  json.object().member("taken_ns", ns_of(sample.taken));
  json.member("read_ns", cost.count());
  put(json, sample.host);
  json.key("vms").array();
  for (const VmMemory& vm : sample.vms) put(json, vm);
  json.end().end();
  print_line(line);
}

}  // namespace

void print_memory(int period_ms, int count, std::span<const pid_t> pids) {
  auto proc = ProcRoot::open();
  if (!proc) give_up(proc.error().what);
  auto cgroups = open_host_cgroups(*proc);
  auto sensor = MemorySensor::open(*proc, cgroups ? &*cgroups : nullptr);
  if (!sensor) give_up(sensor.error().what);
  const Attached attached =
      attach(*sensor, *proc, cgroups ? &*cgroups : nullptr, pids);
  const Instant start = monotonic_now();
  sensor->load_programs();
  print_start(*sensor, attached, monotonic_now() - start);
  for (int i = 0; i < count; ++i) {
    const Instant now = monotonic_now();
    const MemorySample& sample = sensor->read(now);
    print_sample(sample, monotonic_now() - now);
    std::this_thread::sleep_for(std::chrono::milliseconds{period_ms});
  }
}

}  // namespace outrider::check
