// SPDX-License-Identifier: Apache-2.0
#include "agent/control_sample.h"

#include <fmt/format.h>

#include <array>
#include <concepts>
#include <limits>
#include <string>
#include <type_traits>
#include <utility>

namespace outrider {
namespace {

// In the order of VmOrigin.
constexpr std::array<std::string_view, 4> kOrigins = {"libvirt", "proxmox",
                                                      "process", "operator"};
// In the order of ExitClass.
constexpr std::array<const char*, kExitClasses> kExitNames = {
    "exits_halt",      "exits_io",         "exits_mmio", "exits_msr",
    "exits_interrupt", "exits_page_fault", "exits_other"};

// The order of a row, for both directions: visit(column, field) one by one.
// Row is the struct or const of it.
template <class Row, class Visit>
requires std::same_as<std::remove_const_t<Row>, VmSample>
void each_field(Row& row, Visit&& visit) {
  visit("id", row.id);
  visit("first_thread", row.first_thread);
  visit("thread_count", row.thread_count);
  visit("first_vcpu", row.first_vcpu);
  visit("vcpu_count", row.vcpu_count);
  visit("all_runnable_ns", row.all_runnable_ns);
  visit("throttled_ns", row.throttled_ns);
  visit("throttled_count", row.throttled_count);
}

template <class Row, class Visit>
requires std::same_as<std::remove_const_t<Row>, ThreadSample>
void each_field(Row& row, Visit&& visit) {
  visit("id", row.id);
  visit("vm", row.vm);
  visit("tid", row.tid);
  visit("vcpu", row.vcpu);
  visit("class", row.thread_class);
  visit("state", row.state);
  visit("run_ns", row.run_ns);
  visit("wait_ns", row.wait_ns);
  visit("open_run_ns", row.open_run_ns);
  visit("open_wait_ns", row.open_wait_ns);
  visit("wakeups", row.wakeups);
  visit("migrations", row.migrations);
}

template <class Row, class Visit>
requires std::same_as<std::remove_const_t<Row>, VcpuSample>
void each_field(Row& row, Visit&& visit) {
  for (std::size_t i = 0; i < kExitClasses; ++i)
    visit(kExitNames[i], row.exits[i]);
  visit("halt_poll_ns", row.halt_poll_ns);
  visit("guest_ns", row.guest_ns);
}

template <class Row, class Visit>
requires std::same_as<std::remove_const_t<Row>, BlameSample>
void each_field(Row& row, Visit&& visit) {
  visit("waiter", row.waiter);
  visit("holder", row.holder);
  visit("holder_vm", row.holder_vm);
  visit("holder_pid", row.holder_pid);
  visit("wait_ns", row.wait_ns);
}

template <class Field>
std::uint64_t to_number(Field field) {
  if constexpr (std::is_enum_v<Field>)
    return static_cast<std::underlying_type_t<Field>>(field);
  else
    return field;
}

// The largest number that is a value of Field.
template <class Field>
constexpr std::uint64_t most_of() {
  if constexpr (std::same_as<Field, ThreadClass>)
    return to_number(ThreadClass::kVhost);
  else if constexpr (std::same_as<Field, ThreadState>)
    return to_number(ThreadState::kExited);
  else if constexpr (std::same_as<Field, BlameSample::Holder>)
    return to_number(BlameSample::Holder::kIdle);
  else if constexpr (std::is_enum_v<Field>)
    return std::numeric_limits<std::underlying_type_t<Field>>::max();
  else
    return std::numeric_limits<Field>::max();
}

template <class Row>
void write_rows(JsonText& json, std::string_view name,
                const std::vector<Row>& rows) {
  json.key(name).array();
  for (const Row& row : rows) {
    json.array();
    each_field(row, [&](const char*, const auto& field) {
      json.value(to_number(field));
    });
    json.end();
  }
  json.end();
}

template <class Row>
void write_columns(JsonText& json, std::string_view name) {
  json.key(name).array();
  const Row row{};
  each_field(row, [&](const char* column, const auto&) { json.value(column); });
  json.end();
}

template <class Row>
std::size_t column_count() {
  std::size_t count = 0;
  const Row row{};
  each_field(row, [&](const char*, const auto&) { ++count; });
  return count;
}

template <class Row>
bool read_row(const json_t* from, Row& row) {
  if (json_array_size(from) != column_count<Row>()) return false;
  bool good = true;
  std::size_t at = 0;
  each_field(row, [&](const char*, auto& field) {
    using Field = std::remove_reference_t<decltype(field)>;
    const json_t* value = json_array_get(from, at++);
    const json_int_t number = json_integer_value(value);
    if (!json_is_integer(value) || number < 0 ||
        static_cast<std::uint64_t>(number) > most_of<Field>())
      good = false;
    else
      field = static_cast<Field>(number);
  });
  return good;
}

template <class Row>
Result<std::vector<Row>> parse_rows(const json_t* line, const char* name) {
  const json_t* from = json_object_get(line, name);
  if (!json_is_array(from))
    return fail(0, fmt::format("sample: no rows of {}", name));
  std::vector<Row> rows(json_array_size(from));
  for (std::size_t i = 0; i < rows.size(); ++i)
    if (!read_row(json_array_get(from, i), rows[i]))
      return fail(0,
                  fmt::format("sample: row {} of {} is out of shape", i, name));
  return rows;
}

template <class Row>
bool has_columns(const json_t* columns, const char* name) {
  const json_t* names = json_object_get(columns, name);
  bool same = json_array_size(names) == column_count<Row>();
  std::size_t at = 0;
  const Row row{};
  each_field(row, [&](const char* column, const auto&) {
    const char* given = json_string_value(json_array_get(names, at++));
    same = same && given != nullptr && std::string_view{given} == column;
  });
  return same;
}

bool has_our_columns(const json_t* columns) {
  return has_columns<VmSample>(columns, "vms") &&
         has_columns<ThreadSample>(columns, "threads") &&
         has_columns<VcpuSample>(columns, "vcpus") &&
         has_columns<BlameSample>(columns, "blame");
}

bool is_within_bounds(const Sample& sample) {
  for (const VmSample& vm : sample.vms)
    if (std::uint64_t{vm.first_thread} + vm.thread_count >
            sample.threads.size() ||
        std::uint64_t{vm.first_vcpu} + vm.vcpu_count > sample.vcpus.size() ||
        vm.vcpu_count > vm.thread_count)
      return false;
  return true;
}

std::string text_of(const json_t* object, const char* name) {
  const char* text = json_string_value(json_object_get(object, name));
  return text == nullptr ? "" : text;
}

std::uint64_t count_of(const json_t* object, const char* name) {
  const json_int_t count = json_integer_value(json_object_get(object, name));
  return count < 0 ? 0 : static_cast<std::uint64_t>(count);
}

Vm parse_identity(const json_t* object) {
  Vm vm;
  vm.id = static_cast<VmId>(count_of(object, "id"));
  vm.identity.name = text_of(object, "name");
  vm.identity.uuid = text_of(object, "uuid");
  vm.identity.pid = static_cast<pid_t>(count_of(object, "pid"));
  vm.identity.start_ticks = count_of(object, "start_ticks");
  vm.identity.cgroup = text_of(object, "cgroup");
  vm.identity.cgroup_id = count_of(object, "cgroup_id");
  const std::string origin = text_of(object, "origin");
  for (std::size_t i = 0; i < kOrigins.size(); ++i)
    if (origin == kOrigins[i]) vm.identity.origin = static_cast<VmOrigin>(i);
  vm.attached = Instant{
      Duration{static_cast<Duration::rep>(count_of(object, "attached_ns"))}};
  return vm;
}

}  // namespace

std::string_view origin_name(VmOrigin origin) {
  return kOrigins[static_cast<std::size_t>(origin)];
}

void write_sample(JsonText& json, const Sample& sample) {
  json.member("taken_ns", sample.taken.time_since_epoch().count());
  json.member("lost", sample.lost);
  write_rows(json, "vms", sample.vms);
  write_rows(json, "threads", sample.threads);
  write_rows(json, "vcpus", sample.vcpus);
  write_rows(json, "blame", sample.blame);
}

void write_identity(JsonText& json, const Vm& vm) {
  json.object()
      .member("id", to_number(vm.id))
      .member("name", vm.identity.name)
      .member("uuid", vm.identity.uuid)
      .member("pid", vm.identity.pid)
      .member("start_ticks", vm.identity.start_ticks)
      .member("cgroup", vm.identity.cgroup)
      .member("cgroup_id", vm.identity.cgroup_id)
      .member("origin", origin_name(vm.identity.origin))
      .member("attached_ns", vm.attached.time_since_epoch().count())
      .end();
}

void write_identities(JsonText& json, std::span<const Vm> vms) {
  json.key("columns").object();
  write_columns<VmSample>(json, "vms");
  write_columns<ThreadSample>(json, "threads");
  write_columns<VcpuSample>(json, "vcpus");
  write_columns<BlameSample>(json, "blame");
  json.end();
  json.key("identities").array();
  for (const Vm& vm : vms) write_identity(json, vm);
  json.end();
}

Result<Sample> parse_sample(const json_t* line) {
  const json_t* columns = json_object_get(line, "columns");
  if (columns != nullptr && !has_our_columns(columns))
    return fail(0, "sample: other columns than this outrider knows");
  const json_t* taken = json_object_get(line, "taken_ns");
  if (!json_is_integer(taken)) return fail(0, "sample: no taken_ns");
  auto vms = parse_rows<VmSample>(line, "vms");
  if (!vms) return tl::unexpected<Error>(std::move(vms.error()));
  auto threads = parse_rows<ThreadSample>(line, "threads");
  if (!threads) return tl::unexpected<Error>(std::move(threads.error()));
  auto vcpus = parse_rows<VcpuSample>(line, "vcpus");
  if (!vcpus) return tl::unexpected<Error>(std::move(vcpus.error()));
  auto blame = parse_rows<BlameSample>(line, "blame");
  if (!blame) return tl::unexpected<Error>(std::move(blame.error()));
  Sample sample{.taken = Instant{Duration{json_integer_value(taken)}},
                .vms = *std::move(vms),
                .threads = *std::move(threads),
                .vcpus = *std::move(vcpus),
                .blame = *std::move(blame),
                .lost = count_of(line, "lost")};
  if (!is_within_bounds(sample))
    return fail(0, "sample: a VM has threads that are not there");
  return sample;
}

bool has_identities(const json_t* line) {
  return json_is_array(json_object_get(line, "identities"));
}

Result<std::vector<Vm>> parse_identities(const json_t* line) {
  const json_t* from = json_object_get(line, "identities");
  if (!json_is_array(from)) return fail(0, "sample: no identities");
  std::vector<Vm> vms;
  vms.reserve(json_array_size(from));
  for (std::size_t i = 0; i < json_array_size(from); ++i)
    vms.push_back(parse_identity(json_array_get(from, i)));
  return vms;
}

}  // namespace outrider
