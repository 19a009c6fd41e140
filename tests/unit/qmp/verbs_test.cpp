// SPDX-License-Identifier: Apache-2.0
#include "qmp/verbs.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <string>
#include <vector>

#include "tests/unit/qmp/answers.h"

namespace outrider::qmp {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Pair;

constexpr Bytes kMiB{std::int64_t{1} << 20};
Bytes mib(std::int64_t count) { return Bytes{count * kMiB.count()}; }

template <class T>
Result<T> parse_recorded(const Verb<T>& verb, const std::string& name) {
  const Json value = value_of(recorded(name));
  return verb.parse(value.get());
}

template <class T>
Result<T> parse(const Verb<T>& verb, const std::string& value) {
  const Json json = answer(value);
  EXPECT_NE(json, nullptr) << value;
  return verb.parse(json.get());
}

template <class T>
std::string refusal(const Verb<T>& verb, const std::string& value) {
  auto parsed = parse(verb, value);
  if (parsed) return "none";
  EXPECT_EQ(parsed.error().code, EBADMSG);
  return parsed.error().what;
}

template <class T>
std::string command(const Verb<T>& verb) {
  return encode_command(verb.request.name, verb.request.arguments.get(), 1)
      .value_or("no command");
}

/// `text` with the first `from` replaced.
std::string with(std::string text, const std::string& from,
                 const std::string& to) {
  const std::size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return text.replace(at, from.size(), to);
}

// --- The VM and its vCPUs
// -----------------------------------------------------

TEST(QueryStatus, ReadsARealAnswer) {
  EXPECT_EQ(command(query_status()),
            "{\"execute\":\"query-status\",\"id\":1}\n");
  const auto status = parse_recorded(query_status(), "status").value();
  EXPECT_FALSE(status.running);
  EXPECT_EQ(status.status, "prelaunch");
}

TEST(QueryStatus, RefusesWhatContradictsItself) {
  EXPECT_EQ(refusal(query_status(), R"({"status": "paused", "running": true})"),
            "status: running: contradicts 'paused'");
  EXPECT_EQ(
      refusal(query_status(), R"({"status": "running", "running": false})"),
      "status: running: contradicts 'running'");
  EXPECT_EQ(refusal(query_status(), R"({"status": "running", "running": 1})"),
            "status: running: want true or false");
  EXPECT_EQ(refusal(query_status(), R"({"running": false})"),
            "status: status: want a text");
  EXPECT_EQ(refusal(query_status(), "[]"), "status: want an object");
}

TEST(QueryCpusFast, ReadsARealAnswer) {
  const auto cpus = parse_recorded(query_cpus_fast(), "cpus-plugged").value();
  ASSERT_EQ(cpus.size(), 2);
  EXPECT_EQ(cpus[1].index, 1);
  EXPECT_GT(cpus[1].thread, cpus[0].thread);
  EXPECT_EQ(cpus[1].qom_path, "/machine/peripheral/cpu1");
  EXPECT_THAT(cpus[1].place, testing::UnorderedElementsAre(
                                 Pair("socket-id", 0), Pair("node-id", 0),
                                 Pair("core-id", 1), Pair("thread-id", 0)));
}

TEST(QueryCpusFast, RefusesImpossibleThreads) {
  const auto cpu = [](const std::string& thread) {
    return R"([{"cpu-index": 0, "qom-path": "/a", "thread-id": )" + thread +
           "}]";
  };
  EXPECT_EQ(parse(query_cpus_fast(), cpu("7")).value()[0].thread, 7);
  EXPECT_EQ(refusal(query_cpus_fast(), cpu("0")),
            "vcpus[0]: thread-id: want 1..2147483647, got 0");
  EXPECT_THAT(refusal(query_cpus_fast(), cpu("4294967297")),
              HasSubstr("got 4294967297"));
  EXPECT_THAT(refusal(query_cpus_fast(), cpu("18446744073709551615")),
              HasSubstr("got -1"));
  EXPECT_EQ(refusal(query_cpus_fast(), cpu("\"7\"")),
            "vcpus[0]: thread-id: want a whole number");
  EXPECT_EQ(refusal(query_cpus_fast(), "{}"), "vcpus: want an array");
  EXPECT_EQ(refusal(query_cpus_fast(), "[1]"), "vcpus[0]: want an object");
}

TEST(QueryHotpluggableCpus, TellsFreeSlotsAndHowToPlugThem) {
  const auto slots =
      parse_recorded(query_hotpluggable_cpus(), "cpu-slots-plugged").value();
  ASSERT_EQ(slots.size(), 4);
  EXPECT_THAT(slots[0].qom_path, IsEmpty());
  EXPECT_EQ(slots[2].qom_path, "/machine/peripheral/cpu1");
  const auto verb = plug_cpu(slots[0], "cpu3");
  const json_t* const arguments = verb.request.arguments.get();
  EXPECT_EQ(verb.request.name, "device_add");
  EXPECT_STREQ(json_string_value(json_object_get(arguments, "driver")),
               "qemu64-x86_64-cpu");
  EXPECT_EQ(json_integer_value(json_object_get(arguments, "core-id")), 3);
  EXPECT_EQ(json_object_size(arguments), 6);
}

TEST(QueryHotpluggableCpus, RefusesASlotWithoutPlace) {
  EXPECT_EQ(refusal(query_hotpluggable_cpus(),
                    R"([{"type": "a", "vcpus-count": 1}])"),
            "cpu slots[0]: props: want an object");
  EXPECT_THAT(refusal(query_hotpluggable_cpus(),
                      R"([{"type": "a", "vcpus-count": 1,
                           "props": {"core-id": -1}}])"),
              HasSubstr("props: core-id: want 0.."));
}

// --- Memory
// -------------------------------------------------------------------

TEST(QueryMemoryDevices, ReadsARealAnswer) {
  const auto devices =
      parse_recorded(query_memory_devices(), "memory-devices-dimm").value();
  ASSERT_EQ(devices.size(), 2);
  const auto& memory = std::get<VirtioMem>(devices[0]);
  EXPECT_EQ(memory.id, "vmem0");
  EXPECT_EQ(memory.size, mib(0));
  EXPECT_EQ(memory.requested, mib(512));
  EXPECT_EQ(memory.max, mib(1024));
  EXPECT_EQ(memory.block, mib(2));
  EXPECT_EQ(memory.memdev, "/objects/vmm0");
  const auto& dimm = std::get<Dimm>(devices[1]);
  EXPECT_EQ(dimm.id, "dimm1");
  EXPECT_EQ(dimm.size, mib(128));
  EXPECT_TRUE(dimm.hotpluggable);
}

TEST(QueryMemoryDevices, RefusesImpossibleSizes) {
  const std::string good =
      R"([{"type": "virtio-mem", "data": {"memdev": "/a", "size": 4096,
           "requested-size": 8192, "max-size": 8192, "block-size": 2048}}])";
  const auto verb = query_memory_devices();
  EXPECT_TRUE(parse(verb, good));
  EXPECT_EQ(refusal(verb, with(good, "2048", "3000")),
            "memory devices[0]: data: block-size: no power of 2: 3000");
  EXPECT_EQ(refusal(verb, with(good, "2048", "0")),
            "memory devices[0]: data: block-size: no power of 2: 0");
  EXPECT_EQ(refusal(verb, with(good, "4096", "4097")),
            "memory devices[0]: data: size: no whole blocks");
  EXPECT_EQ(refusal(verb, with(good, "4096", "16384")),
            "memory devices[0]: data: size: more than max-size");
  EXPECT_EQ(refusal(verb, with(good, "8192", "8193")),
            "memory devices[0]: data: requested-size: more than max-size");
  EXPECT_TRUE(std::holds_alternative<OtherMemory>(
      parse(verb, R"([{"type": "nvdimm", "data": {}}])").value()[0]));
}

TEST(QueryMemorySize, ReadsARealAnswer) {
  const auto size =
      parse_recorded(query_memory_size_summary(), "memory-size").value();
  EXPECT_EQ(size.base, mib(256));
  EXPECT_EQ(size.plugged, mib(0));
  EXPECT_EQ(refusal(query_memory_size_summary(), R"({"base-memory": -1})"),
            "memory size: base-memory: want 0..9223372036854775807, got -1");
}

TEST(QueryBalloon, ReadsARealAnswer) {
  EXPECT_EQ(parse_recorded(query_balloon(), "balloon").value(), mib(256));
  EXPECT_EQ(command(balloon(mib(1))),
            "{\"execute\":\"balloon\",\"arguments\":{\"value\":1048576},"
            "\"id\":1}\n");
}

TEST(GuestStats, AreNotGivenBeforeTheGuestHasSpoken) {
  const auto stats = parse_recorded(guest_stats("/a"), "guest-stats").value();
  EXPECT_EQ(stats.updated_s, 0);
  EXPECT_FALSE(stats.total || stats.free || stats.available);
  EXPECT_FALSE(stats.swapped_in || stats.swapped_out || stats.disk_caches);
  EXPECT_FALSE(stats.major_faults || stats.minor_faults);
}

constexpr const char* kStats = R"({"last-update": 1700000000, "stats": {
    "stat-total-memory": 1000, "stat-free-memory": 300,
    "stat-available-memory": 700, "stat-disk-caches": 400,
    "stat-swap-in": 11, "stat-swap-out": 12, "stat-major-faults": 13,
    "stat-minor-faults": 14, "stat-htlb-pgalloc": 0}})";

TEST(GuestStats, AreRead) {
  const auto stats = parse(guest_stats("/a"), kStats).value();
  EXPECT_EQ(stats.updated_s, 1700000000);
  EXPECT_EQ(stats.total, Bytes{1000});
  EXPECT_EQ(stats.free, Bytes{300});
  EXPECT_EQ(stats.available, Bytes{700});
  EXPECT_EQ(stats.disk_caches, Bytes{400});
  EXPECT_EQ(stats.swapped_in, Bytes{11});
  EXPECT_EQ(stats.swapped_out, Bytes{12});
  EXPECT_EQ(stats.major_faults, 13);
  EXPECT_EQ(stats.minor_faults, 14);
}

TEST(GuestStats, AreRefusedWhereTheyAreImpossible) {
  const auto verb = guest_stats("/a");
  EXPECT_EQ(refusal(verb, with(kStats, "300", "1001")),
            "guest-stats: stats: stat-free-memory: "
            "more than stat-total-memory");
  EXPECT_THAT(refusal(verb, with(kStats, ": 700", ": 1001")),
              HasSubstr("stat-available-memory: more than"));
  EXPECT_THAT(refusal(verb, with(kStats, "400", "1001")),
              HasSubstr("stat-disk-caches: more than"));
  // 2^64 - 2 is no "not given".
  EXPECT_THAT(refusal(verb, with(kStats, "11", "18446744073709551614")),
              HasSubstr("stat-swap-in: want -1..9223372036854775807, got -2"));
  EXPECT_THAT(refusal(verb, with(kStats, "1700000000", "-1")),
              HasSubstr("last-update"));
  EXPECT_THAT(refusal(verb, "{\"last-update\": 1}"),
              HasSubstr("stats: want an object"));
}

TEST(QomVerbs, AskForTheProperty) {
  EXPECT_EQ(command(guest_stats("/b")),
            "{\"execute\":\"qom-get\",\"arguments\":{\"path\":\"/b\","
            "\"property\":\"guest-stats\"},\"id\":1}\n");
  EXPECT_EQ(command(set_stats_interval("/b", 2)),
            "{\"execute\":\"qom-set\",\"arguments\":{\"path\":\"/b\","
            "\"property\":\"guest-stats-polling-interval\",\"value\":2},"
            "\"id\":1}\n");
  EXPECT_EQ(command(set_requested_size("/m", mib(2))),
            "{\"execute\":\"qom-set\",\"arguments\":{\"path\":\"/m\","
            "\"property\":\"requested-size\",\"value\":2097152},\"id\":1}\n");
  EXPECT_THAT(command(requested_size("/m")), HasSubstr("requested-size"));
  EXPECT_EQ(parse(requested_size("/m"), "2097152").value(), mib(2));
  EXPECT_EQ(refusal(requested_size("/m"), "-1"), "answer: want a whole number");
  EXPECT_EQ(parse_recorded(stats_interval("/b"), "stats-interval").value(), 0);
  EXPECT_TRUE(
      parse_recorded(set_requested_size("/m", mib(2)), "requested-size"));
  EXPECT_EQ(refusal(balloon(mib(1)), "1"), "answer: want an object");
}

// --- Devices, objects, disks
// --------------------------------------------------

TEST(DevicesOf, FindsBalloonAndVirtioMem) {
  const auto members = parse_recorded(qom_list(kPeripheral), "peripheral");
  ASSERT_TRUE(members);
  EXPECT_THAT(devices_of(kPeripheral, *members, "virtio-balloon"),
              ElementsAre("/machine/peripheral/balloon0"));
  EXPECT_THAT(devices_of(kPeripheral, *members, "virtio-mem"),
              ElementsAre("/machine/peripheral/vmem0"));
  const auto unnamed =
      parse_recorded(qom_list(kPeripheralAnon), "peripheral-anon").value();
  EXPECT_THAT(devices_of(kPeripheralAnon, unnamed, "virtio-mem"), IsEmpty());
}

TEST(DevicesOf, TakesNoDriverThatOnlyBeginsSo) {
  const std::vector<QomMember> members{{"a", "child<virtio-memory>"},
                                       {"b", "child<virtio-mem>"},
                                       {"c", "child<virtio-mem-pci>"},
                                       {"d", "child<virtio-mem"},
                                       {"virtio-mem", "string"}};
  EXPECT_THAT(devices_of("/f", members, "virtio-mem"),
              ElementsAre("/f/b", "/f/c"));
}

TEST(DeviceVerbs, AskForDevicesAndObjects) {
  EXPECT_EQ(command(object_add_ram("m", mib(1))),
            "{\"execute\":\"object-add\",\"arguments\":{\"qom-type\":"
            "\"memory-backend-ram\",\"id\":\"m\",\"size\":1048576},"
            "\"id\":1}\n");
  EXPECT_EQ(command(plug_dimm("d", "m")),
            "{\"execute\":\"device_add\",\"arguments\":{\"driver\":"
            "\"pc-dimm\",\"id\":\"d\",\"memdev\":\"m\"},\"id\":1}\n");
  EXPECT_EQ(command(device_del("d")),
            "{\"execute\":\"device_del\",\"arguments\":{\"id\":\"d\"},"
            "\"id\":1}\n");
  EXPECT_THAT(command(object_del("m")), HasSubstr("object-del"));
  const Json properties{json_pack("{s:s}", "bus", "b")};
  EXPECT_EQ(command(device_add("e1000", "n", properties.get())),
            "{\"execute\":\"device_add\",\"arguments\":{\"driver\":\"e1000\","
            "\"id\":\"n\",\"bus\":\"b\"},\"id\":1}\n");
}

TEST(DeviceVerbs, AreNoCommandsWhereATextIsNoUtf8) {
  EXPECT_EQ(command(device_del("\xff")), "no command");
  EXPECT_EQ(command(device_add("a", "\xff", nullptr)), "no command");
  EXPECT_EQ(command(plug_dimm("\xff", "m")), "no command");
}

TEST(QueryBlock, ReadsARealAnswer) {
  const auto blocks = parse_recorded(query_block(), "block").value();
  ASSERT_EQ(blocks.size(), 1);
  EXPECT_EQ(blocks[0].device, "disk0");
  EXPECT_EQ(blocks[0].qdev, "/machine/peripheral/vda/virtio-backend");
  EXPECT_TRUE(blocks[0].inserted);
  EXPECT_EQ(blocks[0].file, "/tmp/disk.img");
  EXPECT_EQ(blocks[0].virtual_size, mib(1));
  EXPECT_EQ(blocks[0].throttle, BlockThrottle{});
}

TEST(QueryBlock, TakesAnEmptyDriveAndRefusesImpossibleOnes) {
  EXPECT_FALSE(parse(query_block(), R"([{"device": ""}])").value()[0].inserted);
  EXPECT_EQ(refusal(query_block(), R"([{"device": 1}])"),
            "block devices[0]: device: want a text");
  std::string line = recorded("block");
  line = line.substr(line.find('['), line.rfind(']') - line.find('[') + 1);
  EXPECT_THAT(refusal(query_block(), with(line, "\"bps\": 0", "\"bps\": -1")),
              HasSubstr("inserted: bps: want 0.."));
}

TEST(BlockSetIoThrottle, GivesAllSix) {
  EXPECT_EQ(
      command(block_set_io_throttle("d", {.bytes_per_s = 1, .ops_per_s = 2})),
      "{\"execute\":\"block_set_io_throttle\",\"arguments\":{\"id\":\"d\","
      "\"bps\":1,\"bps_rd\":0,\"bps_wr\":0,\"iops\":2,\"iops_rd\":0,"
      "\"iops_wr\":0},\"id\":1}\n");
}

// --- Schema
// -------------------------------------------------------------------

TEST(Schema, TellsWhatARealQemuCan) {
  const auto schema = parse_recorded(query_qmp_schema(), "schema").value();
  EXPECT_EQ(schema.commands(), 5);
  EXPECT_TRUE(schema.has_command("balloon"));
  EXPECT_FALSE(schema.has_command("balloo"));
  EXPECT_FALSE(schema.has_command("STOP"));
  EXPECT_TRUE(schema.has_argument("balloon", "value"));
  EXPECT_FALSE(schema.has_argument("balloon", "speed"));
  EXPECT_FALSE(schema.has_argument("none", "value"));
  EXPECT_TRUE(schema.has_argument("block_set_io_throttle", "iops_size"));
  EXPECT_TRUE(schema.has_event("STOP"));
  EXPECT_FALSE(schema.has_event("STOPPED"));
  EXPECT_GT(query_qmp_schema().request.reply_bytes_max, 207'010);
}

TEST(Schema, RefusesACommandThatItDoesNotExplain) {
  const auto verb = query_qmp_schema();
  EXPECT_EQ(refusal(verb, R"([{"meta-type": "command", "name": "a",
                               "arg-type": "7"}])"),
            "schema[0]: arg-type: is no object's");
  EXPECT_EQ(refusal(verb, R"([{"meta-type": "command", "name": "a",
                               "arg-type": "7"},
                              {"meta-type": "object", "name": "7",
                               "members": [{}]}])"),
            "schema[1]: members[0]: name: want a text");
  EXPECT_EQ(refusal(verb, R"([{"name": "a"}])"),
            "schema[0]: meta-type: want a text");
}

}  // namespace
}  // namespace outrider::qmp
