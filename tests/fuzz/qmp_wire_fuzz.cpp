// SPDX-License-Identifier: Apache-2.0
// Any bytes as a stream of QMP, in pieces of any length: the same lines come
// out as in one piece, within the bounds; what is a message is read by every
// verb.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "qmp/command_line.h"
#include "qmp/events.h"
#include "qmp/verbs.h"
#include "qmp/wire.h"

namespace outrider::qmp {
namespace {

void require(bool holds) {
  if (!holds) __builtin_trap();
}

/// Made once: a run is to measure the reading.
struct Verbs {
  Verb<Status> status = query_status();
  Verb<Schema> schema = query_qmp_schema();
  Verb<std::vector<Vcpu>> cpus = query_cpus_fast();
  Verb<std::vector<CpuSlot>> slots = query_hotpluggable_cpus();
  Verb<std::vector<MemoryDevice>> memory = query_memory_devices();
  Verb<MemorySize> size = query_memory_size_summary();
  Verb<Bytes> balloon = query_balloon();
  Verb<BalloonStats> stats = guest_stats("/a");
  Verb<std::vector<QomMember>> members = qom_list("/a");
  Verb<std::vector<BlockDevice>> block = query_block();
  Verb<Done> done = device_del("a");
};

void check_memory(const std::vector<MemoryDevice>& devices) {
  for (const MemoryDevice& device : devices) {
    const auto* const memory = std::get_if<VirtioMem>(&device);
    if (memory == nullptr) continue;
    require(memory->size >= Bytes{} && memory->size <= memory->max);
    require(memory->requested <= memory->max);
  }
}

void read_answer(const json_t* value) {
  static const Verbs verbs;
  (void)verbs.status.parse(value);
  (void)verbs.schema.parse(value);
  (void)verbs.cpus.parse(value);
  (void)verbs.slots.parse(value);
  if (auto devices = verbs.memory.parse(value)) check_memory(*devices);
  (void)verbs.size.parse(value);
  if (auto bytes = verbs.balloon.parse(value)) require(*bytes >= Bytes{});
  if (auto stats = verbs.stats.parse(value))
    require(!stats->total || !stats->free || *stats->free <= *stats->total);
  (void)verbs.members.parse(value);
  (void)verbs.block.parse(value);
  (void)verbs.done.parse(value);
}

struct Reading {
  void operator()(const Greeting& greeting) const {
    require(greeting.version.size() < 512);
  }
  void operator()(const Return& answer) const {
    require(answer.value != nullptr);
    read_answer(answer.value.get());
  }
  void operator()(const Failure&) const {}
  void operator()(const Event& event) const {
    auto parsed = parse_event(event);
    if (parsed && *parsed) require(is_known_event(event.name));
  }
};

/// Pieces of `piece` bytes; 0: all at once.
void read_in_pieces(std::string_view all, std::size_t piece,
                    std::vector<std::string>& lines) {
  LineReader reader;
  while (!all.empty()) {
    const std::string_view part =
        all.substr(0, piece == 0 ? all.size() : piece);
    all.remove_prefix(part.size());
    reader.feed(part);
    while (true) {
      auto line = reader.next();
      if (!line) return;
      if (!*line) break;
      lines.emplace_back(**line);
    }
    require(reader.memory() <= kLineBytesMax);
  }
}

void run(std::string_view bytes) {
  if (bytes.empty()) return;
  const std::size_t piece = static_cast<unsigned char>(bytes.front()) % 32;
  bytes.remove_prefix(1);
  std::vector<std::string> lines;
  read_in_pieces(bytes, 0, lines);
  std::vector<std::string> others;
  if (piece != 0) read_in_pieces(bytes, piece, others);
  require(piece == 0 || lines == others);
  for (const std::string& line : lines) {
    auto message = parse_message(line);
    if (message) std::visit(Reading{}, *message);
  }
  if (piece == 31) (void)parse_command_line(split_command_line(bytes));
}

}  // namespace
}  // namespace outrider::qmp

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data,
                                      std::size_t size) {
  outrider::qmp::run({reinterpret_cast<const char*>(data), size});
  return 0;
}
