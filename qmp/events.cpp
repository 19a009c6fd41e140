// SPDX-License-Identifier: Apache-2.0
#include "qmp/events.h"

#include <algorithm>
#include <array>

#include "qmp/fields.h"

namespace outrider::qmp {
namespace {

KnownEvent balloon_change(Fields& data) {
  return BalloonChange{.actual = data.bytes("actual")};
}
KnownEvent memory_device_size_change(Fields& data) {
  return MemoryDeviceSizeChange{.id = data.text_or_empty("id"),
                                .size = data.bytes("size"),
                                .qom_path = data.text("qom-path")};
}
KnownEvent device_deleted(Fields& data) {
  return DeviceDeleted{.id = data.text_or_empty("device"),
                       .qom_path = data.text("path")};
}
KnownEvent device_unplug_guest_error(Fields& data) {
  return DeviceUnplugGuestError{.id = data.text_or_empty("device"),
                                .qom_path = data.text("path")};
}
KnownEvent acpi_device_ost(Fields& data) {
  Fields info = data.object("info");
  AcpiDeviceOst ost{.id = info.text_or_empty("device"),
                    .slot = info.text("slot"),
                    .slot_type = info.text("slot-type"),
                    .source = info.count("source"),
                    .status = info.count("status")};
  data.take_fault(info);
  return ost;
}
KnownEvent shutdown(Fields& data) {
  return Shutdown{.by_guest = data.flag("guest"),
                  .reason = data.text("reason")};
}
KnownEvent stopped(Fields&) { return Stopped{}; }
KnownEvent resumed(Fields&) { return Resumed{}; }
KnownEvent migration(Fields& data) {
  return MigrationChange{.status = data.text("status")};
}

struct Row {
  std::string_view name;
  KnownEvent (*parse)(Fields& data);
};
constexpr std::array kEvents{
    Row{"ACPI_DEVICE_OST", acpi_device_ost},
    Row{"BALLOON_CHANGE", balloon_change},
    Row{"DEVICE_DELETED", device_deleted},
    Row{"DEVICE_UNPLUG_GUEST_ERROR", device_unplug_guest_error},
    Row{"MEMORY_DEVICE_SIZE_CHANGE", memory_device_size_change},
    Row{"MIGRATION", migration},
    Row{"RESUME", resumed},
    Row{"SHUTDOWN", shutdown},
    Row{"STOP", stopped},
};

const Row* find(std::string_view name) {
  const auto row = std::find_if(kEvents.begin(), kEvents.end(),
                                [&](const Row& r) { return r.name == name; });
  return row == kEvents.end() ? nullptr : &*row;
}

}  // namespace

bool is_known_event(std::string_view name) { return find(name) != nullptr; }

Result<std::optional<KnownEvent>> parse_event(const Event& event) {
  const Row* const row = find(event.name);
  if (row == nullptr) return std::nullopt;
  const bool needs_none = row->parse == stopped || row->parse == resumed;
  const Json empty{json_object()};
  const bool has_none = event.data == nullptr && needs_none;
  Fields data{has_none ? empty.get() : event.data.get(), event.name};
  auto parsed = data.result(row->parse(data));
  if (!parsed) return tl::unexpected<Error>(std::move(parsed.error()));
  return std::optional{*std::move(parsed)};
}

}  // namespace outrider::qmp
