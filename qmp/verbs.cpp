// SPDX-License-Identifier: Apache-2.0
#include "qmp/verbs.h"

#include <bit>
#include <cerrno>
#include <initializer_list>
#include <limits>

#include "qmp/fields.h"

namespace outrider::qmp {
namespace {

// --- Asking
// -------------------------------------------------------------------

/// The arguments of a command. What cannot be encoded (no UTF-8) makes them no
/// object, which is refused when it is asked.
class Arguments {
 public:
  Arguments& text(const char* name, std::string_view value) {
    return put(name, json_stringn(value.data(), value.size()));
  }
  Arguments& count(const char* name, std::int64_t value) {
    return put(name, json_integer(value));
  }
  Json take() { return std::move(object_); }

 private:
  Arguments& put(const char* name, json_t* value) {
    if (json_object_set_new(object_.get(), name, value) != 0)
      object_ = Json{json_null()};
    return *this;
  }
  Json object_{json_object()};
};

Request request(const char* name, Json arguments = nullptr) {
  return {.name = name, .arguments = std::move(arguments)};
}

Request qom_get(const std::string& path, const char* property) {
  return request(
      "qom-get",
      Arguments().text("path", path).text("property", property).take());
}

Request qom_set(const std::string& path, const char* property,
                std::int64_t value) {
  return request("qom-set", Arguments()
                                .text("path", path)
                                .text("property", property)
                                .count("value", value)
                                .take());
}

// --- Reading
// ------------------------------------------------------------------

template <class T>
tl::unexpected<Error> hand_up(Result<T>& failed) {
  return tl::unexpected<Error>(std::move(failed.error()));
}

/// Each element of an array of objects by `parse`.
template <class T>
Result<std::vector<T>> parse_list(const json_t* array, const char* subject,
                                  T (*parse)(Fields& element)) {
  auto elements = objects_of(array, subject);
  if (!elements) return hand_up(elements);
  std::vector<T> list;
  list.reserve(elements->size());
  for (Fields& element : *elements) {
    auto parsed = element.result(parse(element));
    if (!parsed) return hand_up(parsed);
    list.push_back(*std::move(parsed));
  }
  return list;
}

Result<Done> parse_done(const json_t* value) {
  return Fields{value, "answer"}.result(Done{});
}

Result<std::int64_t> parse_count(const json_t* value) {
  if (!json_is_integer(value) || json_integer_value(value) < 0)
    return fail(EBADMSG, "answer: want a whole number");
  return json_integer_value(value);
}

Result<Bytes> parse_bytes(const json_t* value) {
  auto count = parse_count(value);
  if (!count) return hand_up(count);
  return Bytes{*count};
}

Result<Status> parse_status(const json_t* value) {
  Fields fields{value, "status"};
  Status status{.running = fields.flag("running"),
                .status = fields.text("status")};
  if (status.running != (status.status == "running"))
    fields.refuse("running", "contradicts '" + status.status + "'");
  return fields.result(std::move(status));
}

// Whatever members there are, all whole numbers: boards differ.
CpuPlace place_of(Fields& cpu, const char* name) {
  CpuPlace place;
  Fields props = cpu.object(name);
  for (void* at = json_object_iter(const_cast<json_t*>(cpu.member(name)));
       at != nullptr;
       at = json_object_iter_next(const_cast<json_t*>(cpu.member(name)), at)) {
    const char* const key = json_object_iter_key(at);
    place.emplace_back(key, props.count(key));
  }
  cpu.take_fault(props);
  return place;
}

Vcpu vcpu_of(Fields& cpu) {
  constexpr std::int64_t kTidMax = std::numeric_limits<pid_t>::max();
  return {.index = cpu.count("cpu-index"),
          .thread = static_cast<pid_t>(cpu.count("thread-id", 1, kTidMax)),
          .qom_path = cpu.text("qom-path"),
          .place = cpu.has("props") ? place_of(cpu, "props") : CpuPlace{}};
}

CpuSlot slot_of(Fields& slot) {
  return {.type = slot.text("type"),
          .vcpus = slot.count("vcpus-count", 1),
          .qom_path = slot.text_or_empty("qom-path"),
          .place = place_of(slot, "props")};
}

Dimm dimm_of(Fields& data) {
  return {.id = data.text_or_empty("id"),
          .size = data.bytes("size"),
          .slot = data.count("slot"),
          .memdev = data.text("memdev"),
          .hotplugged = data.flag("hotplugged"),
          .hotpluggable = data.flag("hotpluggable")};
}

VirtioMem virtio_mem_of(Fields& data) {
  VirtioMem memory{.id = data.text_or_empty("id"),
                   .size = data.bytes("size"),
                   .requested = data.bytes("requested-size"),
                   .max = data.bytes("max-size"),
                   .block = data.bytes("block-size"),
                   .memdev = data.text("memdev")};
  const std::int64_t block = memory.block.count();
  if (!std::has_single_bit(static_cast<std::uint64_t>(block)))
    data.refuse("block-size", "no power of 2: " + std::to_string(block));
  else if (memory.size.count() % block != 0)
    data.refuse("size", "no whole blocks");
  if (memory.size > memory.max) data.refuse("size", "more than max-size");
  if (memory.requested > memory.max)
    data.refuse("requested-size", "more than max-size");
  return memory;
}

MemoryDevice memory_device_of(Fields& device) {
  const std::string type = device.text("type");
  MemoryDevice memory = OtherMemory{type};
  Fields data = device.object("data");
  if (type == "dimm") memory = dimm_of(data);
  if (type == "virtio-mem") memory = virtio_mem_of(data);
  device.take_fault(data);
  return memory;
}

Result<MemorySize> parse_memory_size(const json_t* value) {
  Fields fields{value, "memory size"};
  MemorySize size{.base = fields.bytes("base-memory"), .plugged = {}};
  // QEMU leaves it out where the board has no slots.
  if (fields.has("plugged-memory"))
    size.plugged = fields.bytes("plugged-memory");
  return fields.result(size);
}

Result<Bytes> parse_balloon(const json_t* value) {
  Fields fields{value, "balloon"};
  return fields.result(fields.bytes("actual"));
}

std::optional<Bytes> bytes_if_given(Fields& stats, const char* name) {
  const auto count = stats.count_if_given(name);
  if (!count) return std::nullopt;
  return Bytes{*count};
}

Result<BalloonStats> parse_guest_stats(const json_t* value) {
  Fields fields{value, "guest-stats"};
  Fields stats = fields.object("stats");
  BalloonStats result{
      .updated_s = fields.count("last-update"),
      .total = bytes_if_given(stats, "stat-total-memory"),
      .free = bytes_if_given(stats, "stat-free-memory"),
      .available = bytes_if_given(stats, "stat-available-memory"),
      .disk_caches = bytes_if_given(stats, "stat-disk-caches"),
      .swapped_in = bytes_if_given(stats, "stat-swap-in"),
      .swapped_out = bytes_if_given(stats, "stat-swap-out"),
      .major_faults = stats.count_if_given("stat-major-faults"),
      .minor_faults = stats.count_if_given("stat-minor-faults")};
  const auto within_total = [&](const char* name, std::optional<Bytes> part) {
    if (part && result.total && *part > *result.total)
      stats.refuse(name, "more than stat-total-memory");
  };
  within_total("stat-free-memory", result.free);
  within_total("stat-available-memory", result.available);
  within_total("stat-disk-caches", result.disk_caches);
  fields.take_fault(stats);
  return fields.result(result);
}

QomMember member_of(Fields& member) {
  return {.name = member.text("name"), .type = member.text("type")};
}

BlockThrottle throttle_of(Fields& inserted) {
  return {.bytes_per_s = inserted.count("bps"),
          .read_bytes_per_s = inserted.count("bps_rd"),
          .write_bytes_per_s = inserted.count("bps_wr"),
          .ops_per_s = inserted.count("iops"),
          .read_ops_per_s = inserted.count("iops_rd"),
          .write_ops_per_s = inserted.count("iops_wr")};
}

std::string any_text(Fields& fields, const char* name) {
  const json_t* const text = fields.member(name);
  if (!json_is_string(text)) fields.refuse(name, "want a text");
  return {json_string_value(text), json_string_length(text)};
}

BlockDevice block_device_of(Fields& device) {
  BlockDevice block{.device = any_text(device, "device"),
                    .qdev = device.text_or_empty("qdev"),
                    .inserted = device.has("inserted"),
                    .file = {},
                    .throttle = {}};
  if (!block.inserted) return block;
  Fields inserted = device.object("inserted");
  Fields image = inserted.object("image");
  block.file = any_text(inserted, "file");
  block.read_only = inserted.flag("ro");
  block.encrypted = inserted.flag("encrypted");
  block.virtual_size = image.bytes("virtual-size");
  block.throttle = throttle_of(inserted);
  inserted.take_fault(image);
  device.take_fault(inserted);
  return block;
}

}  // namespace

// --- The VM
// -------------------------------------------------------------------

Verb<Status> query_status() { return {request("query-status"), parse_status}; }

Verb<Schema> query_qmp_schema() {
  Verb<Schema> verb{request("query-qmp-schema"), Schema::parse};
  verb.request.reply_bytes_max = kLineBytesMax;
  return verb;
}

// --- vCPUs
// --------------------------------------------------------------------

Verb<std::vector<Vcpu>> query_cpus_fast() {
  return {request("query-cpus-fast"), [](const json_t* value) {
            return parse_list<Vcpu>(value, "vcpus", vcpu_of);
          }};
}

Verb<std::vector<CpuSlot>> query_hotpluggable_cpus() {
  return {request("query-hotpluggable-cpus"), [](const json_t* value) {
            return parse_list<CpuSlot>(value, "cpu slots", slot_of);
          }};
}

Verb<Done> plug_cpu(const CpuSlot& slot, const std::string& id) {
  Arguments arguments;
  arguments.text("driver", slot.type).text("id", id);
  for (const auto& [name, number] : slot.place)
    arguments.count(name.c_str(), number);
  return {request("device_add", arguments.take()), parse_done};
}

// --- Memory
// -------------------------------------------------------------------

Verb<std::vector<MemoryDevice>> query_memory_devices() {
  return {request("query-memory-devices"), [](const json_t* value) {
            return parse_list<MemoryDevice>(value, "memory devices",
                                            memory_device_of);
          }};
}

Verb<MemorySize> query_memory_size_summary() {
  return {request("query-memory-size-summary"), parse_memory_size};
}

Verb<Bytes> query_balloon() {
  return {request("query-balloon"), parse_balloon};
}

Verb<Done> balloon(Bytes target) {
  return {request("balloon", Arguments().count("value", target.count()).take()),
          parse_done};
}

Verb<BalloonStats> guest_stats(const std::string& balloon_path) {
  return {qom_get(balloon_path, "guest-stats"), parse_guest_stats};
}

Verb<std::int64_t> stats_interval(const std::string& balloon_path) {
  return {qom_get(balloon_path, "guest-stats-polling-interval"), parse_count};
}

Verb<Done> set_stats_interval(const std::string& balloon_path,
                              std::int64_t seconds) {
  return {qom_set(balloon_path, "guest-stats-polling-interval", seconds),
          parse_done};
}

Verb<Bytes> requested_size(const std::string& virtio_mem_path) {
  return {qom_get(virtio_mem_path, "requested-size"), parse_bytes};
}

Verb<Done> set_requested_size(const std::string& virtio_mem_path, Bytes size) {
  return {qom_set(virtio_mem_path, "requested-size", size.count()), parse_done};
}

// --- Devices and objects
// ------------------------------------------------------

Verb<std::vector<QomMember>> qom_list(const std::string& path) {
  return {request("qom-list", Arguments().text("path", path).take()),
          [](const json_t* value) {
            return parse_list<QomMember>(value, "members", member_of);
          }};
}

std::vector<std::string> devices_of(const std::string& folder,
                                    std::span<const QomMember> members,
                                    std::string_view driver) {
  std::vector<std::string> paths;
  const std::string start = "child<" + std::string(driver);
  for (const QomMember& member : members) {
    if (!member.type.starts_with(start)) continue;
    const char after = member.type.c_str()[start.size()];
    if (after == '>' || after == '-')
      paths.push_back(folder + "/" + member.name);
  }
  return paths;
}

Verb<Done> object_add_ram(const std::string& id, Bytes size) {
  return {request("object-add", Arguments()
                                    .text("qom-type", "memory-backend-ram")
                                    .text("id", id)
                                    .count("size", size.count())
                                    .take()),
          parse_done};
}

Verb<Done> object_del(const std::string& id) {
  return {request("object-del", Arguments().text("id", id).take()), parse_done};
}

Verb<Done> plug_dimm(const std::string& id, const std::string& memdev) {
  return {request("device_add", Arguments()
                                    .text("driver", "pc-dimm")
                                    .text("id", id)
                                    .text("memdev", memdev)
                                    .take()),
          parse_done};
}

Verb<Done> device_add(const std::string& driver, const std::string& id,
                      const json_t* properties) {
  Json arguments = Arguments().text("driver", driver).text("id", id).take();
  if (properties != nullptr &&
      json_object_update(arguments.get(), const_cast<json_t*>(properties)) != 0)
    arguments = Json{json_null()};
  return {request("device_add", std::move(arguments)), parse_done};
}

Verb<Done> device_del(const std::string& id) {
  return {request("device_del", Arguments().text("id", id).take()), parse_done};
}

// --- Disks
// --------------------------------------------------------------------

Verb<std::vector<BlockDevice>> query_block() {
  return {request("query-block"), [](const json_t* value) {
            return parse_list<BlockDevice>(value, "block devices",
                                           block_device_of);
          }};
}

Verb<Done> block_set_io_throttle(const std::string& id,
                                 const BlockThrottle& throttle) {
  Arguments arguments;
  arguments.text("id", id)
      .count("bps", throttle.bytes_per_s)
      .count("bps_rd", throttle.read_bytes_per_s)
      .count("bps_wr", throttle.write_bytes_per_s)
      .count("iops", throttle.ops_per_s)
      .count("iops_rd", throttle.read_ops_per_s)
      .count("iops_wr", throttle.write_ops_per_s);
  return {request("block_set_io_throttle", arguments.take()), parse_done};
}

}  // namespace outrider::qmp
