// SPDX-License-Identifier: Apache-2.0
#include "agent/memory_sensor.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace outrider {
namespace {

Fd open_in(int directory, const std::string& name) {
  return Fd{::openat(directory, name.c_str(), O_RDONLY | O_CLOEXEC)};
}

// Takes new figures, or none; counts it if one of them went back.
template <class Figures>
void take(const std::optional<Figures>& now, Figures& last,
          std::optional<Figures>& out, std::uint32_t& resets) {
  out = now;
  if (!now) return;
  if (went_back(last, *now)) ++resets;
  last = *now;
}

template <class Rows>
auto place_of(Rows& rows, VmId vm) {
  return std::find_if(rows.begin(), rows.end(),
                      [vm](const auto& row) { return row.id >= vm; });
}

}  // namespace

MemorySensor::MemorySensor(const ProcRoot& proc, const CgroupTree* cgroups,
                           MemoryPaces paces)
    : proc_(&proc),
      cgroups_(cgroups),
      paces_(paces),
      page_(::sysconf(_SC_PAGESIZE)) {}

MemorySensor::MemorySensor(MemorySensor&&) noexcept = default;

MemorySensor::~MemorySensor() = default;

Result<MemorySensor> MemorySensor::open(const ProcRoot& proc,
                                        const CgroupTree* cgroups,
                                        MemoryPaces paces) {
  MemorySensor sensor{proc, cgroups, paces};
  struct Row {
    const char* name;
    Fd MemorySensor::*file;
    const char* cost;
  };
  for (const Row& row :
       {Row{"meminfo", &MemorySensor::meminfo_, "no amounts of the host"},
        Row{"vmstat", &MemorySensor::vmstat_, "no reclaim of the host"},
        Row{"zoneinfo", &MemorySensor::zoneinfo_, "no watermarks"},
        Row{"pressure/memory", &MemorySensor::pressure_,
            "no pressure (PSI) of the host"}}) {
    Fd file = open_in(proc.fd(), row.name);
    if (!file) {
      const int error = errno;
      sensor.missing_.push_back(
          {error, std::string{"open "} + row.name + ": " + row.cost});
    }
    sensor.*row.file = std::move(file);
  }
  if (!sensor.meminfo_) return fail(sensor.missing_[0].code, "open meminfo");
  if (cgroups == nullptr) {
    sensor.missing_.push_back({ENOENT, "no cgroup v2: VMs are not seen"});
  }
  return sensor;
}

// --- Who is there ------------------------------------------------------------

Result<MemorySensor::Watched> MemorySensor::open_files(const Vm& vm) const {
  if (cgroups_ == nullptr) return fail(ENOENT, "memory: no cgroup v2 here");
  auto cgroup = find_memory_cgroup(*proc_, *cgroups_, vm.identity);
  if (!cgroup) return tl::unexpected<Error>(cgroup.error());
  Watched watched;
  watched.id = vm.id;
  watched.pid = vm.identity.pid;
  watched.cgroup = *std::move(cgroup);
  struct Row {
    const char* name;
    Fd Watched::*file;
    bool is_needed;
  };
  for (const Row& row : {Row{"memory.current", &Watched::current, true},
                         Row{"memory.swap.current", &Watched::swap, false},
                         Row{"memory.pressure", &Watched::pressure, false},
                         Row{"memory.events", &Watched::events, true},
                         Row{"memory.stat", &Watched::stat, true}}) {
    watched.*row.file =
        open_in(cgroups_->fd(), below(watched.cgroup, row.name));
    const int error = errno;
    if (watched.*row.file) continue;
    // Out of descriptors is no property of the kernel's.
    if (row.is_needed || (error != ENOENT && error != EOPNOTSUPP)) {
      return fail(error, "open " + watched.cgroup + "/" + row.name);
    }
  }
  return watched;
}

Result<> MemorySensor::attach(const Vm& vm) {
  const auto place = place_of(vms_, vm.id);
  if (place != vms_.end() && place->id == vm.id) {
    return fail(EEXIST, "memory: vm=" + vm.identity.name + " is attached");
  }
  auto watched = open_files(vm);
  if (!watched) return pass(watched, "attach");
  if (programs_) open_slot(*watched);
  vms_.insert(place, *std::move(watched));
  VmMemory row;
  row.id = vm.id;
  sample_.vms.insert(place_of(sample_.vms, vm.id), row);
  return {};
}

Result<> MemorySensor::detach(VmId vm) {
  const auto place = place_of(vms_, vm);
  if (place == vms_.end() || place->id != vm) {
    return fail(ENOENT, "memory: not attached");
  }
  if (place->slot != 0) programs_->close(place->slot);
  vms_.erase(place);
  sample_.vms.erase(place_of(sample_.vms, vm));
  return {};
}

Result<MemoryLimits> MemorySensor::limits(VmId vm) const {
  const std::string cgroup{cgroup_of(vm)};
  if (cgroup.empty()) return fail(ENOENT, "memory limits: not attached");
  return read_memory_limits(*cgroups_, cgroup);
}

std::string_view MemorySensor::cgroup_of(VmId vm) const {
  const auto place = place_of(vms_, vm);
  if (place == vms_.end() || place->id != vm) return {};
  return place->cgroup;
}

void MemorySensor::load_programs() {
  if (programs_) return;
  auto programs = MemoryPrograms::load();
  if (!programs) {
    missing_.push_back(std::move(programs.error()));
    return;
  }
  programs_ = *std::move(programs);
  for (const MissingProgram& program : programs_->missing()) {
    missing_.push_back({0, program.name + ": " + program.cost});
  }
  for (Watched& watched : vms_) open_slot(watched);
}

// Without a slot its figures are missing, which is all that can be done.
void MemorySensor::open_slot(Watched& watched) {
  const auto ids = list_memory_cgroups(*cgroups_, watched.cgroup);
  auto slot = programs_->open(watched.pid, ids);
  if (slot) {
    watched.slot = *slot;
  } else {
    missing_.push_back(
        {slot.error().code, watched.cgroup + ": " + slot.error().what});
  }
}

// --- Reading -----------------------------------------------------------------

MemorySensor::FileText MemorySensor::read_kept(const Fd& file) {
  const ssize_t got = ::pread(file.get(), buffer_.data(), buffer_.size(), 0);
  if (got < 0) return {{}, errno};
  // A seq_file stops at a record's end where the buffer does: full or not, what
  // is cut off cannot be told from what is whole, so room is left.
  const auto bytes = static_cast<std::size_t>(got);
  if (bytes == buffer_.size()) return {{}, EFBIG};
  return {{buffer_.data(), bytes}, 0};
}

std::optional<MemoryZones> MemorySensor::read_zones() {
  ZoneinfoParser parser{page_};
  off_t offset = 0;
  for (;;) {
    const ssize_t got =
        ::pread(zoneinfo_.get(), buffer_.data(), buffer_.size(), offset);
    if (got < 0) return std::nullopt;
    if (got == 0) return parser.finish();
    parser.add({buffer_.data(), static_cast<std::size_t>(got)});
    offset += got;
  }
}

void MemorySensor::read_host(HostMemory& host) {
  host.amounts.reset();
  const FileText meminfo = read_kept(meminfo_);
  if (meminfo.error == 0) host.amounts = parse_meminfo(meminfo.text);
  host.zones = read_zones();
  const FileText vmstat = read_kept(vmstat_);
  take(vmstat.error == 0 ? parse_vmstat(vmstat.text) : std::nullopt,
       last_activity_, host.activity, host.resets);
  const FileText pressure = read_kept(pressure_);
  take(pressure.error == 0 ? parse_pressure(pressure.text) : std::nullopt,
       last_pressure_, host.pressure, host.resets);
}

void MemorySensor::read_stat(Watched& watched, Instant now, VmMemory& vm) {
  // Of different length, so that the VMs do not all come at one read.
  watched.next_stat =
      now + paces_.stat * (24 + static_cast<int>(watched.id) % 8) / 32;
  const FileText stat = read_kept(watched.stat);
  take(stat.error == 0 ? parse_memory_stat(stat.text) : std::nullopt,
       watched.last_stat, vm.stat, vm.resets);
  vm.stat_taken = now;
}

void MemorySensor::read_vm(Watched& watched, Instant now, VmMemory& vm) {
  const FileText current = read_kept(watched.current);
  if (current.error == ENODEV) {
    const std::uint32_t resets = vm.resets;
    vm = VmMemory{};
    vm.id = watched.id;
    vm.is_gone = true;
    vm.resets = resets;
    return;
  }
  vm.current = current.error == 0 ? parse_amount(current.text) : std::nullopt;
  const FileText swap = read_kept(watched.swap);
  vm.swap = swap.error == 0 ? parse_amount(swap.text) : std::nullopt;
  const FileText events = read_kept(watched.events);
  take(events.error == 0 ? parse_memory_events(events.text) : std::nullopt,
       watched.last_events, vm.events, vm.resets);
  const MemoryPressure before = watched.last_pressure;
  const FileText pressure = read_kept(watched.pressure);
  take(pressure.error == 0 ? parse_pressure(pressure.text) : std::nullopt,
       watched.last_pressure, vm.pressure, vm.resets);
  const bool has_moved = vm.pressure && *vm.pressure != before;
  if (has_moved || now >= watched.next_stat) read_stat(watched, now, vm);
}

void fill_counters(const eyes_memory& counted, const MemorySees& sees,
                   VmMemory& vm) {
  if (sees.first_touches) vm.first_touches = counted.first_touches;
  if (sees.direct_reclaims) {
    vm.direct_reclaims = counted.direct_reclaims;
    vm.direct_reclaim_ns = counted.direct_reclaim_ns;
  }
  if (sees.memcg_reclaims) {
    vm.memcg_reclaims = counted.memcg_reclaims;
    vm.memcg_reclaim_ns = counted.memcg_reclaim_ns;
    vm.memcg_reclaimed_pages = counted.memcg_pages;
  }
}

void MemorySensor::read_counters() {
  const MemorySees& sees = programs_->sees();
  if (sees.memcg_reclaims) {
    const eyes_memory others = programs_->at(0);
    sample_.host.memcg_reclaims = others.memcg_reclaims;
    sample_.host.memcg_reclaim_ns = others.memcg_reclaim_ns;
  }
  for (std::size_t i = 0; i < vms_.size(); ++i) {
    if (vms_[i].slot == 0 || sample_.vms[i].is_gone) continue;
    fill_counters(programs_->at(vms_[i].slot), sees, sample_.vms[i]);
  }
}

const MemorySample& MemorySensor::read(Instant now) {
  sample_.taken = now;
  read_host(sample_.host);
  for (std::size_t i = 0; i < vms_.size(); ++i) {
    if (!sample_.vms[i].is_gone) read_vm(vms_[i], now, sample_.vms[i]);
  }
  if (programs_) read_counters();
  return sample_;
}

}  // namespace outrider
