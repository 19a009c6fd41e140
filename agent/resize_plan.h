// SPDX-License-Identifier: Apache-2.0
// By which steps a guest comes to another size. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "agent/base/result.h"
#include "agent/base/units.h"
#include "qmp/verbs.h"

namespace outrider {

/// What is wanted; what is not there stays as it is.
struct ResizeWish {
  std::optional<Bytes> memory{};
  std::optional<std::int64_t> vcpus{};

  friend bool operator==(const ResizeWish&, const ResizeWish&) = default;
};

/// What a guest has and could have, as its QEMU says.
struct GuestShape {
  Bytes base;                    // given at its start
  std::optional<Bytes> balloon;  // left of base and DIMMs; none: no balloon
  std::vector<qmp::MemoryDevice> devices;
  std::vector<qmp::CpuSlot> slots;  // in QEMU's order: from the last on

  /// What the guest may use now.
  Bytes memory() const;
  /// Of all virtio-mem devices.
  Bytes virtio_mem() const;
  std::int64_t vcpus() const;
};

struct ResizeStep {
  enum class Kind : std::uint8_t {
    kBalloon,
    kVirtioMem,
    kPlugDimm,
    kUnplugDimm,
    kPlugCpu,
    kUnplugCpu,
  };
  Kind kind = Kind::kBalloon;
  std::string device;  // its id; an unplugged vCPU's is its QOM path
  Bytes from;          // of memory steps; a DIMM has 0 or all of it
  Bytes to;
  qmp::CpuSlot slot{};   // of vCPU steps
  std::string memdev{};  // of an unplugged DIMM: QOM path of its backend
};
/// The word for it, for people and programs.
std::string_view to_text(ResizeStep::Kind kind);

/// In the order in which they are to be done: whoever grows gets memory first
/// and vCPUs then, who shrinks gives vCPUs first. Empty: it has that size.
///
/// Memory beyond base and DIMMs is virtio-mem's, in its blocks, as far as that
/// goes, and one more DIMM's then; less than those have is unplugged where a
/// DIMM fits into what is too much, and else left to the balloon. Sizes are
/// rounded up. `least`: no less memory than that.
/// Errors: what cannot be had, and why, in words.
Result<std::vector<ResizeStep>> plan_resize(const GuestShape& shape,
                                            const ResizeWish& wish,
                                            Bytes least);

/// Whether `shape` is what `step` was to bring about.
bool is_done(const ResizeStep& step, const GuestShape& shape);
/// How far it got, of from..to.
Bytes reached(const ResizeStep& step, const GuestShape& shape);

}  // namespace outrider
