// SPDX-License-Identifier: Apache-2.0
#include "qmp/events.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace outrider::qmp {
namespace {

using testing::HasSubstr;

Result<std::optional<KnownEvent>> parse(const std::string& name,
                                        const std::string& data) {
  const std::string line =
      R"({"timestamp": {"seconds": 1, "microseconds": 2}, "event": ")" + name +
      "\"" + (data.empty() ? "" : ", \"data\": " + data) + "}";
  auto message = parse_message(line);
  if (!message) return pass(message, "message");
  return parse_event(std::get<Event>(*message));
}

template <class T>
T known(const std::string& name, const std::string& data) {
  auto event = parse(name, data);
  if (!event || !*event || !std::holds_alternative<T>(**event)) {
    ADD_FAILURE() << name << ": " << (event ? "none" : event.error().what);
    return {};
  }
  return std::get<T>(**event);
}

std::string refusal(const std::string& name, const std::string& data) {
  auto event = parse(name, data);
  return event ? "none" : event.error().what;
}

TEST(ParseEvent, ReadsMemorysEvents) {
  EXPECT_EQ(known<BalloonChange>("BALLOON_CHANGE", R"({"actual": 5})").actual,
            Bytes{5});
  const auto change = known<MemoryDeviceSizeChange>(
      "MEMORY_DEVICE_SIZE_CHANGE",
      R"({"id": "vm0", "size": 7, "qom-path": "/machine/peripheral/vm0"})");
  EXPECT_EQ(change.id, "vm0");
  EXPECT_EQ(change.size, Bytes{7});
  EXPECT_EQ(change.qom_path, "/machine/peripheral/vm0");
}

TEST(ParseEvent, ReadsDevicesEvents) {
  const auto deleted = known<DeviceDeleted>(
      "DEVICE_DELETED", R"({"device": "d", "path": "/machine/d"})");
  EXPECT_EQ(deleted.id, "d");
  EXPECT_EQ(deleted.qom_path, "/machine/d");
  EXPECT_EQ(known<DeviceDeleted>("DEVICE_DELETED", R"({"path": "/p"})").id, "");
  EXPECT_EQ(known<DeviceUnplugGuestError>("DEVICE_UNPLUG_GUEST_ERROR",
                                          R"({"device": "d", "path": "/p"})")
                .id,
            "d");
  const auto ost = known<AcpiDeviceOst>(
      "ACPI_DEVICE_OST",
      R"({"info": {"device": "d1", "slot": "0", "slot-type": "DIMM",
                   "source": 1, "status": 3}})");
  EXPECT_EQ(ost.id, "d1");
  EXPECT_EQ(ost.slot, "0");
  EXPECT_EQ(ost.slot_type, "DIMM");
  EXPECT_EQ(ost.source, 1);
  EXPECT_EQ(ost.status, 3);
}

TEST(ParseEvent, ReadsTheVmsEvents) {
  const auto shutdown = known<Shutdown>(
      "SHUTDOWN", R"({"guest": true, "reason": "guest-shutdown"})");
  EXPECT_TRUE(shutdown.by_guest);
  EXPECT_EQ(shutdown.reason, "guest-shutdown");
  known<Stopped>("STOP", "");
  known<Resumed>("RESUME", "");
  EXPECT_EQ(
      known<MigrationChange>("MIGRATION", R"({"status": "active"})").status,
      "active");
}

TEST(ParseEvent, KnowsNoOthers) {
  EXPECT_FALSE(parse("RTC_CHANGE", R"({"offset": 1})").value().has_value());
  EXPECT_FALSE(is_known_event("RTC_CHANGE"));
  EXPECT_FALSE(is_known_event(""));
  EXPECT_TRUE(is_known_event("ACPI_DEVICE_OST"));
  EXPECT_TRUE(is_known_event("STOP"));
}

TEST(ParseEvent, RefusesImpossibleOnes) {
  EXPECT_THAT(refusal("BALLOON_CHANGE", R"({"actual": -1})"),
              HasSubstr("BALLOON_CHANGE: actual: want 0.."));
  EXPECT_EQ(refusal("BALLOON_CHANGE", ""), "BALLOON_CHANGE: want an object");
  EXPECT_EQ(refusal("DEVICE_DELETED", R"({"device": "d"})"),
            "DEVICE_DELETED: path: want a text");
  EXPECT_EQ(refusal("ACPI_DEVICE_OST", R"({"info": {"slot": "0"}})"),
            "ACPI_DEVICE_OST: info: slot-type: want a text");
}

}  // namespace
}  // namespace outrider::qmp
