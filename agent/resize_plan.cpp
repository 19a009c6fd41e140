// SPDX-License-Identifier: Apache-2.0
#include "agent/resize_plan.h"

#include <algorithm>
#include <array>
#include <functional>
#include <utility>

#include "agent/core/memory_policy.h"

namespace outrider {
namespace {

// x86's least block of memory that Linux can set online.
constexpr Bytes kDimmBlock{128 * kMebibyte.count()};
// Balloons move in pages and settle next to what was asked for.
constexpr Bytes kBalloonTolerance = kMebibyte;

std::string mib_text(Bytes bytes) {
  return std::to_string(bytes.count() / kMebibyte.count()) + " MiB";
}

Bytes round_up(Bytes bytes, Bytes block) {
  const std::int64_t count =
      (bytes.count() + block.count() - 1) / block.count();
  return Bytes{count * block.count()};
}

template <class Device>
std::vector<Device> all_of(const GuestShape& shape) {
  std::vector<Device> found;
  for (const qmp::MemoryDevice& device : shape.devices) {
    if (const auto* its = std::get_if<Device>(&device)) found.push_back(*its);
  }
  return found;
}

Bytes dimms(const GuestShape& shape) {
  Bytes sum;
  for (const auto& dimm : all_of<qmp::Dimm>(shape)) sum += dimm.size;
  return sum;
}

const qmp::VirtioMem* find_virtio_mem(const GuestShape& shape,
                                      const std::string& id) {
  for (const qmp::MemoryDevice& device : shape.devices) {
    const auto* its = std::get_if<qmp::VirtioMem>(&device);
    if (its != nullptr && its->id == id) return its;
  }
  return nullptr;
}

const qmp::Dimm* find_dimm(const GuestShape& shape, const std::string& id) {
  for (const qmp::MemoryDevice& device : shape.devices) {
    const auto* its = std::get_if<qmp::Dimm>(&device);
    if (its != nullptr && its->id == id) return its;
  }
  return nullptr;
}

const qmp::CpuSlot* find_slot(const GuestShape& shape,
                              const qmp::CpuPlace& place) {
  const auto found = std::ranges::find_if(
      shape.slots,
      [&](const qmp::CpuSlot& slot) { return slot.place == place; });
  return found == shape.slots.end() ? nullptr : &*found;
}

/// What memory of one size is made of.
struct Layout {
  std::vector<Bytes> virtio_mem;       // of each device, in QEMU's order
  std::vector<qmp::Dimm> superfluous;  // are unplugged
  Bytes more;                          // is plugged as a DIMM; 0: none
  Bytes fixed;                         // base and the DIMMs that stay
  Bytes balloon;                       // is left of `fixed`
};

// Those that fit into what is too much, largest first.
std::vector<qmp::Dimm> superfluous_dimms(const GuestShape& shape,
                                         Bytes excess) {
  std::vector<qmp::Dimm> candidates = all_of<qmp::Dimm>(shape);
  std::erase_if(candidates, [](const qmp::Dimm& dimm) {
    return !dimm.hotplugged || !dimm.hotpluggable || dimm.id.empty();
  });
  std::ranges::stable_sort(candidates, std::greater<>{}, &qmp::Dimm::size);
  std::erase_if(candidates, [&excess](const qmp::Dimm& dimm) {
    if (dimm.size > excess) return true;
    excess = excess - dimm.size;
    return false;
  });
  return candidates;
}

Layout layout_for(const GuestShape& shape, Bytes wanted) {
  Layout layout;
  layout.fixed = shape.base + dimms(shape);
  if (wanted < layout.fixed) {
    layout.superfluous = superfluous_dimms(shape, layout.fixed - wanted);
    for (const qmp::Dimm& dimm : layout.superfluous) {
      layout.fixed = layout.fixed - dimm.size;
    }
  }
  Bytes rest = std::max(wanted - layout.fixed, Bytes{});
  for (const auto& device : all_of<qmp::VirtioMem>(shape)) {
    // One without a name cannot be told to change.
    const Bytes its = device.id.empty()
                          ? device.size
                          : std::min(round_up(rest, device.block), device.max);
    layout.virtio_mem.push_back(its);
    rest = std::max(rest - its, Bytes{});
  }
  layout.more = round_up(rest, kDimmBlock);
  layout.balloon = std::min(wanted, layout.fixed);
  return layout;
}

ResizeStep balloon_step(Bytes left, Bytes target) {
  return {.kind = ResizeStep::Kind::kBalloon,
          .device = "balloon",
          .from = left,
          .to = target};
}

// A name that no device has.
std::string new_dimm_id(const GuestShape& shape) {
  for (int number = 0;; ++number) {
    std::string id = "outrider-dimm" + std::to_string(number);
    if (find_dimm(shape, id) == nullptr) return id;
  }
}

void append_virtio_mem(const GuestShape& shape, const Layout& layout,
                       std::vector<ResizeStep>& steps) {
  const auto devices = all_of<qmp::VirtioMem>(shape);
  for (std::size_t i = 0; i < devices.size(); ++i) {
    const Bytes to = layout.virtio_mem[i];
    const bool is_there = devices[i].size == to && devices[i].requested == to;
    if (is_there || devices[i].id.empty()) continue;
    steps.push_back({.kind = ResizeStep::Kind::kVirtioMem,
                     .device = devices[i].id,
                     .from = devices[i].size,
                     .to = to});
  }
}

void append_dimms(const GuestShape& shape, const Layout& layout,
                  std::vector<ResizeStep>& steps) {
  for (const qmp::Dimm& dimm : layout.superfluous) {
    steps.push_back({.kind = ResizeStep::Kind::kUnplugDimm,
                     .device = dimm.id,
                     .from = dimm.size,
                     .to = {},
                     .memdev = dimm.memdev});
  }
  if (layout.more.count() == 0) return;
  steps.push_back({.kind = ResizeStep::Kind::kPlugDimm,
                   .device = new_dimm_id(shape),
                   .from = {},
                   .to = layout.more});
}

Result<> append_memory(const GuestShape& shape, Bytes wanted, Bytes least,
                       std::vector<ResizeStep>& steps) {
  if (wanted < least) {
    return fail(0, "memory: " + mib_text(wanted) + " is under its floor of " +
                       mib_text(least) +
                       ": see memory_floor_mib and memory_floor_percent in "
                       "outrider.yaml");
  }
  const Layout layout = layout_for(shape, wanted);
  if (!shape.balloon && layout.balloon < layout.fixed) {
    return fail(0, "memory: no balloon of its answers, so it keeps the " +
                       mib_text(layout.fixed) + " that it has without one");
  }
  const Bytes left = shape.balloon.value_or(layout.fixed);
  // What a DIMM takes along goes from what the balloon leaves.
  const Bytes before =
      layout.balloon + (shape.base + dimms(shape) - layout.fixed);
  if (left + kBalloonTolerance < before) {
    steps.push_back(balloon_step(left, before));
  }
  append_virtio_mem(shape, layout, steps);
  append_dimms(shape, layout, steps);
  if (before + kBalloonTolerance < left) {
    steps.push_back(balloon_step(left, layout.balloon));
  }
  return {};
}

Result<> append_vcpus(const GuestShape& shape, std::int64_t wanted,
                      std::vector<ResizeStep>& steps) {
  std::int64_t most = 0;
  for (const qmp::CpuSlot& slot : shape.slots) most += slot.vcpus;
  if (most == 0) return fail(0, "vcpus: its machine has no slots for vCPUs");
  if (wanted > most || wanted < 1) {
    return fail(0, "vcpus: it can have 1 to " + std::to_string(most) +
                       ": QEMU's -smp maxcpus is the most");
  }
  std::int64_t now = shape.vcpus();
  // QEMU lists the last first; the boot processor, which is the first, stays.
  for (auto slot = shape.slots.rbegin(); slot != shape.slots.rend(); ++slot) {
    if (now >= wanted) break;
    if (!slot->qom_path.empty()) continue;
    const auto number = std::to_string(slot - shape.slots.rbegin());
    steps.push_back({.kind = ResizeStep::Kind::kPlugCpu,
                     .device = "outrider-cpu" + number,
                     .from = {},
                     .to = {},
                     .slot = *slot});
    now += slot->vcpus;
  }
  for (const qmp::CpuSlot& slot : shape.slots) {
    if (now - slot.vcpus < wanted) break;
    if (slot.qom_path.empty() || &slot == &shape.slots.back()) continue;
    steps.push_back({.kind = ResizeStep::Kind::kUnplugCpu,
                     .device = slot.qom_path,
                     .from = {},
                     .to = {},
                     .slot = slot});
    now -= slot.vcpus;
  }
  return {};
}

}  // namespace

std::string_view to_text(ResizeStep::Kind kind) {
  constexpr std::array<std::string_view, 6> kTexts = {
      "balloon",     "virtio-mem", "plug DIMM",
      "unplug DIMM", "plug vCPU",  "unplug vCPU"};
  return kTexts[static_cast<std::size_t>(kind)];
}

Bytes GuestShape::virtio_mem() const {
  Bytes sum;
  for (const auto& device : all_of<qmp::VirtioMem>(*this)) sum += device.size;
  return sum;
}

Bytes GuestShape::memory() const {
  return balloon.value_or(base + dimms(*this)) + virtio_mem();
}

std::int64_t GuestShape::vcpus() const {
  std::int64_t sum = 0;
  for (const qmp::CpuSlot& slot : slots) {
    if (!slot.qom_path.empty()) sum += slot.vcpus;
  }
  return sum;
}

Result<std::vector<ResizeStep>> plan_resize(const GuestShape& shape,
                                            const ResizeWish& wish,
                                            Bytes least) {
  std::vector<ResizeStep> steps;
  const bool shrinks = wish.vcpus && *wish.vcpus < shape.vcpus();
  if (shrinks) {
    auto done = append_vcpus(shape, *wish.vcpus, steps);
    if (!done) return tl::unexpected<Error>(done.error());
  }
  if (wish.memory) {
    auto done = append_memory(shape, *wish.memory, least, steps);
    if (!done) return tl::unexpected<Error>(done.error());
  }
  if (wish.vcpus && !shrinks) {
    auto done = append_vcpus(shape, *wish.vcpus, steps);
    if (!done) return tl::unexpected<Error>(done.error());
  }
  return steps;
}

Bytes reached(const ResizeStep& step, const GuestShape& shape) {
  switch (step.kind) {
    case ResizeStep::Kind::kBalloon:
      return shape.balloon.value_or(step.from);
    case ResizeStep::Kind::kVirtioMem: {
      const qmp::VirtioMem* device = find_virtio_mem(shape, step.device);
      return device != nullptr ? device->size : step.from;
    }
    case ResizeStep::Kind::kPlugDimm:
    case ResizeStep::Kind::kUnplugDimm: {
      const qmp::Dimm* dimm = find_dimm(shape, step.device);
      return dimm != nullptr ? dimm->size : Bytes{};
    }
    case ResizeStep::Kind::kPlugCpu:
    case ResizeStep::Kind::kUnplugCpu:
      return {};
  }
  return {};
}

bool is_done(const ResizeStep& step, const GuestShape& shape) {
  const auto slot_is_taken = [&] {
    const qmp::CpuSlot* slot = find_slot(shape, step.slot.place);
    return slot != nullptr && !slot->qom_path.empty();
  };
  switch (step.kind) {
    case ResizeStep::Kind::kBalloon: {
      const Bytes left = reached(step, shape);
      return left <= step.to + kBalloonTolerance &&
             step.to <= left + kBalloonTolerance;
    }
    case ResizeStep::Kind::kVirtioMem:
    case ResizeStep::Kind::kPlugDimm:
    case ResizeStep::Kind::kUnplugDimm:
      return reached(step, shape) == step.to;
    case ResizeStep::Kind::kPlugCpu:
      return slot_is_taken();
    case ResizeStep::Kind::kUnplugCpu:
      return !slot_is_taken();
  }
  return false;
}

}  // namespace outrider
