// SPDX-License-Identifier: Apache-2.0
#include "agent/vm_knobs.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace outrider {

/// A cgroup's directory. Invariant: `fd` is open and its inode is `id`.
struct VmKnobs::Place {
  Fd fd;
  std::string path;  // below the mount
  std::uint64_t id = 0;
};

namespace {

constexpr std::string_view kNested = "/libvirt";
constexpr std::string_view kVcpu = "vcpu";

bool ends_with(std::string_view text, std::string_view end) {
  return text.size() > end.size() &&
         text.substr(text.size() - end.size()) == end;
}

Result<std::uint64_t> inode_of(int directory) {
  struct stat facts {};
  if (::fstat(directory, &facts) != 0) return fail(errno, "stat a cgroup");
  return static_cast<std::uint64_t>(facts.st_ino);
}

}  // namespace

bool has_systemd() { return ::access("/run/systemd/system", F_OK) == 0; }

std::string sibling_cgroup(const std::string& cgroup) {
  return ends_with(cgroup, kNested)
             ? cgroup.substr(0, cgroup.size() - kNested.size())
             : cgroup;
}

Result<VmKnobs> VmKnobs::open(const CgroupTree& tree, const Vm& vm,
                              const KnobOptions& options) {
  const std::string& path = vm.identity.cgroup;
  Place own{Fd{::openat(tree.fd(), below(path, "").c_str(),
                        O_PATH | O_DIRECTORY | O_CLOEXEC)},
            path, vm.identity.cgroup_id};
  if (!own.fd) return fail(errno, "open cgroup " + path);
  auto id = inode_of(own.fd.get());
  if (!id) return pass(id, path);
  if (*id != own.id) return fail(ESTALE, "cgroup " + path + " is another's");

  VmKnobs knobs{vm.id, options.cap_period};
  auto cap = knobs.add(own, Knob::kCpuMax, 0);
  if (!cap) return pass(cap, "cgroup " + path);
  auto burst = knobs.add(own, Knob::kCpuMaxBurst, 0);
  if (burst) {
    const auto& file = knobs.find(Knob::kCpuMaxBurst)->settled;
    knobs.burst_wanted_us = parse_knob_number(file.view()).value_or(0);
  } else {
    knobs.missing_.push_back(std::move(burst.error()));  // before 5.14
  }
  if (options.split == Split::kEqual) knobs.add_vcpus(tree, own);
  knobs.add_weights(own, options.weights);
  return knobs;
}

Result<> VmKnobs::add(const Place& place, Knob knob, std::uint16_t index) {
  auto file = KnobFile::open(place.fd.get(), to_text(knob));
  if (!file) return pass(file, place.path);
  const KnobReading now = file->read();
  if (now.error != 0) {
    return fail(now.error,
                "read " + place.path + "/" + std::string{to_text(knob)});
  }
  KnobBaseline origin{.cgroup = place.path,
                      .cgroup_id = place.id,
                      .attribute = std::string{to_text(knob)},
                      .baseline = {}};
  origin.baseline.reserve(KnobValue::kBytesMax);  // filled in the tick
  knobs_.push_back({.knob = knob,
                    .index = index,
                    .file = std::move(*file),
                    .origin = std::move(origin),
                    .slot = std::nullopt,
                    .settled = now.text,
                    .announced = now.text,
                    .told = std::nullopt});
  if (std::find(cgroups_.begin(), cgroups_.end(), place.path) ==
      cgroups_.end()) {
    cgroups_.push_back(place.path);
  }
  return {};
}

void VmKnobs::add_vcpus(const CgroupTree& tree, const Place& own) {
  auto children = list_child_cgroups(tree, own.path);
  if (!children) {
    missing_.push_back(std::move(children.error()));
    return;
  }
  bool any = false;
  for (const std::string& name : *children) {
    if (name.rfind(kVcpu, 0) != 0) continue;
    const auto index = parse_number(std::string_view{name}.substr(4));
    if (!index || *index > UINT16_MAX) continue;
    Place place{Fd{::openat(own.fd.get(), name.c_str(),
                            O_PATH | O_DIRECTORY | O_CLOEXEC)},
                own.path + "/" + name, 0};
    auto id = inode_of(place.fd.get());
    if (!id) continue;  // it has just gone
    place.id = *id;
    auto added = add(place, Knob::kVcpuMax, static_cast<std::uint16_t>(*index));
    if (!added) {
      missing_.push_back(std::move(added.error()));
      continue;
    }
    any = true;
  }
  if (!any) {
    missing_.push_back(
        {ENOENT, "vCPU caps: no cgroups of vCPUs in " + own.path});
  }
}

void VmKnobs::add_weights(const Place& own, WeightOwner owner) {
  if (owner == WeightOwner::kNobody) return;
  if (owner == WeightOwner::kSystemd) {
    missing_.push_back({EPERM, "weights: systemd owns them"});
    return;
  }
  const std::string path = sibling_cgroup(own.path);
  Place siblings{Fd{::openat(own.fd.get(), path == own.path ? "." : "..",
                             O_PATH | O_DIRECTORY | O_CLOEXEC)},
                 path, 0};
  auto id = inode_of(siblings.fd.get());
  if (!id) {
    missing_.push_back(std::move(id.error()));
    return;
  }
  siblings.id = *id;
  // cpu.idle came with 5.15. An idle group's weight cannot be set, hence idle
  // stands first: what is put back in this order is taken.
  for (const Knob knob : {Knob::kCpuIdle, Knob::kCpuWeight}) {
    auto added = add(siblings, knob, 0);
    if (!added) missing_.push_back(std::move(added.error()));
  }
}

HeldKnob* VmKnobs::find(Knob knob, std::uint16_t index) {
  const auto same = [knob, index](const HeldKnob& held) {
    return held.knob == knob && held.index == index;
  };
  const auto at = std::find_if(knobs_.begin(), knobs_.end(), same);
  return at == knobs_.end() ? nullptr : &*at;
}

}  // namespace outrider
