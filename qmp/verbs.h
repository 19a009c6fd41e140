// SPDX-License-Identifier: Apache-2.0
// QEMU's commands as typed requests, and their answers as typed values, each
// member checked for type and range: what is impossible is an error that names
// it. Pure. Commands and members: QEMU, qapi/*.json.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "agent/base/result.h"
#include "agent/base/units.h"
#include "qmp/schema.h"
#include "qmp/session.h"

namespace outrider::qmp {

/// A request, and how its answer is read: `parse` takes the value of "return".
/// Errors of `parse`: EBADMSG.
template <class T>
struct Verb {
  Request request;
  Result<T> (*parse)(const json_t* value) = nullptr;
};

/// The answer of a command that gives none.
struct Done {};

// --- The VM
// -------------------------------------------------------------------

struct Status {
  bool running = false;
  std::string status;  // "running", "paused", "prelaunch", "inmigrate" ...
};
/// Errors of the answer: running, but not "running", and the reverse.
Verb<Status> query_status();

/// What QEMU can do: see Schema. Long, and slow to read: once a connection.
Verb<Schema> query_qmp_schema();

// --- vCPUs
// --------------------------------------------------------------------

/// Where a vCPU sits: "socket-id", "core-id" ... and their numbers.
using CpuPlace = std::vector<std::pair<std::string, std::int64_t>>;

struct Vcpu {
  std::int64_t index = 0;
  pid_t thread = 0;
  std::string qom_path;
  CpuPlace place;
};
/// In QEMU's order.
Verb<std::vector<Vcpu>> query_cpus_fast();

struct CpuSlot {
  std::string type;  // the driver to plug, e.g. "qemu64-x86_64-cpu"
  std::int64_t vcpus = 0;
  std::string qom_path;  // of the vCPU there; empty: the slot is free
  CpuPlace place;
};
/// In QEMU's order, which is from the last slot to the first.
Verb<std::vector<CpuSlot>> query_hotpluggable_cpus();

/// Plugs a vCPU into a free slot. The guest must set it online.
Verb<Done> plug_cpu(const CpuSlot& slot, const std::string& id);

// --- Memory
// -------------------------------------------------------------------

struct Dimm {
  std::string id;
  Bytes size{};
  std::int64_t slot = 0;
  std::string memdev;  // QOM path of its backend
  bool hotplugged = false;
  bool hotpluggable = false;
};
/// Invariant: size and requested are at most max; size is whole blocks.
struct VirtioMem {
  std::string id;
  Bytes size{};       // plugged now
  Bytes requested{};  // wanted by us; the guest may take its time, or not obey
  Bytes max{};
  Bytes block{};  // a power of 2
  std::string memdev;
};
struct OtherMemory {
  std::string type;  // e.g. "nvdimm", "virtio-pmem"
};
using MemoryDevice = std::variant<Dimm, VirtioMem, OtherMemory>;
/// In QEMU's order: by address.
Verb<std::vector<MemoryDevice>> query_memory_devices();

struct MemorySize {
  Bytes base{};
  Bytes plugged{};  // DIMMs and virtio-mem
};
/// What the guest has, without regard to its balloon.
Verb<MemorySize> query_memory_size_summary();

/// The memory that the balloon leaves to the guest.
/// QEMU refuses it ("DeviceNotActive") if there is no balloon.
Verb<Bytes> query_balloon();

/// Asks the guest to fit into `target`, > 0; BALLOON_CHANGE tells how it goes.
Verb<Done> balloon(Bytes target);

/// What the guest says about itself: believe it with care. None: it does not
/// say. Invariant: free, available and disk_caches are at most total.
struct BalloonStats {
  std::int64_t updated_s = 0;  // since 1970, host's clock; 0: never
  std::optional<Bytes> total;
  std::optional<Bytes> free;
  std::optional<Bytes> available;  // without swapping
  std::optional<Bytes> disk_caches;
  std::optional<Bytes> swapped_in;  // since its boot
  std::optional<Bytes> swapped_out;
  std::optional<std::int64_t> major_faults;  // since its boot
  std::optional<std::int64_t> minor_faults;
};
/// `balloon_path`: see `devices_of`. As old as the polling interval.
Verb<BalloonStats> guest_stats(const std::string& balloon_path);

/// How often QEMU asks the guest for statistics, in seconds; 0: never.
Verb<std::int64_t> stats_interval(const std::string& balloon_path);

/// Likewise, to set it.
Verb<Done> set_stats_interval(const std::string& balloon_path,
                              std::int64_t seconds);

/// What virtio-mem was last asked to plug.
Verb<Bytes> requested_size(const std::string& virtio_mem_path);

/// Whole blocks, at most its max; else QEMU refuses.
Verb<Done> set_requested_size(const std::string& virtio_mem_path, Bytes size);

// --- Devices and objects
// ------------------------------------------------------

/// A child or property of an object: of devices the type is "child<driver>".
struct QomMember {
  std::string name;
  std::string type;
};
/// Where named and unnamed devices are.
inline constexpr const char* kPeripheral = "/machine/peripheral";
inline constexpr const char* kPeripheralAnon = "/machine/peripheral-anon";

/// The members of the object at `path`.
Verb<std::vector<QomMember>> qom_list(const std::string& path);

/// The QOM paths of the devices among `members` of `folder` whose driver is
/// `driver`, or `driver`-pci and the like: "virtio-balloon", "virtio-mem".
std::vector<std::string> devices_of(const std::string& folder,
                                    std::span<const QomMember> members,
                                    std::string_view driver);

/// A backend of RAM for a DIMM.
Verb<Done> object_add_ram(const std::string& id, Bytes size);

/// QEMU refuses it while a device uses the object.
Verb<Done> object_del(const std::string& id);

/// Plugs a pc-dimm onto the backend `memdev`.
Verb<Done> plug_dimm(const std::string& id, const std::string& memdev);

/// Any device: `properties` is an object, or null.
Verb<Done> device_add(const std::string& driver, const std::string& id,
                      const json_t* properties);

/// Asks the guest to give a device up. That is done when DEVICE_DELETED comes;
/// DEVICE_UNPLUG_GUEST_ERROR and ACPI_DEVICE_OST say that it is not.
/// `id`: an id or a QOM path.
Verb<Done> device_del(const std::string& id);

// --- Disks
// --------------------------------------------------------------------

/// Each 0: unlimited. A total and a part of the same kind exclude each other.
struct BlockThrottle {
  std::int64_t bytes_per_s = 0;
  std::int64_t read_bytes_per_s = 0;
  std::int64_t write_bytes_per_s = 0;
  std::int64_t ops_per_s = 0;
  std::int64_t read_ops_per_s = 0;
  std::int64_t write_ops_per_s = 0;

  friend bool operator==(const BlockThrottle&, const BlockThrottle&) = default;
};
struct BlockDevice {
  std::string device;     // the drive's name; may be empty
  std::string qdev;       // id or QOM path of the device; empty: none
  bool inserted = false;  // if not, what follows is empty
  std::string file;
  bool read_only = false;
  bool encrypted = false;
  Bytes virtual_size{};
  BlockThrottle throttle;
};
/// In QEMU's order.
Verb<std::vector<BlockDevice>> query_block();

/// `id`: a BlockDevice's qdev.
Verb<Done> block_set_io_throttle(const std::string& id,
                                 const BlockThrottle& throttle);

}  // namespace outrider::qmp
