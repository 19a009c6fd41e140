// SPDX-License-Identifier: Apache-2.0
// QEMU's events as typed values. Their members: QEMU, qapi/*.json.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

#include "agent/base/result.h"
#include "agent/base/units.h"
#include "qmp/wire.h"

namespace outrider::qmp {

/// BALLOON_CHANGE: at most one a second; the last of a change always comes.
struct BalloonChange {
  Bytes actual{};  // what the guest may use
};
/// MEMORY_DEVICE_SIZE_CHANGE: a virtio-mem has plugged or unplugged.
struct MemoryDeviceSizeChange {
  std::string id;  // empty: it has none
  Bytes size{};    // plugged now
  std::string qom_path;
};
/// DEVICE_DELETED: the only proof that an unplug has succeeded.
struct DeviceDeleted {
  std::string id;  // empty: it has none, or it is a part of a device
  std::string qom_path;
};
/// DEVICE_UNPLUG_GUEST_ERROR: the guest refuses.
struct DeviceUnplugGuestError {
  std::string id;
  std::string qom_path;
};
/// ACPI_DEVICE_OST: what the guest's firmware says about a plug or an unplug.
/// For source 3 (ejection) status 0 is success (ACPI 6.3, 6.3.5).
struct AcpiDeviceOst {
  std::string id;         // of the device; empty: there is none (any more)
  std::string slot;       // its number, as a text
  std::string slot_type;  // "DIMM" or "CPU"
  std::int64_t source = 0;
  std::int64_t status = 0;
};
struct Shutdown {
  bool by_guest = false;
  std::string reason;  // e.g. "guest-shutdown", "host-qmp-quit"
};
struct Stopped {};
struct Resumed {};
/// MIGRATION: only where the capability "events" is on.
struct MigrationChange {
  std::string status;  // e.g. "setup", "active", "completed"
};

using KnownEvent =
    std::variant<BalloonChange, MemoryDeviceSizeChange, DeviceDeleted,
                 DeviceUnplugGuestError, AcpiDeviceOst, Shutdown, Stopped,
                 Resumed, MigrationChange>;

/// Whether `parse_event` knows it. Such events are not dropped for their rate.
bool is_known_event(std::string_view name);

/// None: an event that is not known.
/// Errors: EBADMSG a member is missing, of another type or impossible.
Result<std::optional<KnownEvent>> parse_event(const Event& event);

}  // namespace outrider::qmp
