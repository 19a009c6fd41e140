// SPDX-License-Identifier: Apache-2.0
#include "agent/memory_programs.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cassert>
#include <cerrno>
#include <cstring>

#include "agent/bpf_log.h"
#include "memory.skel.h"

namespace outrider {
namespace {

struct Destroy {
  void operator()(memory_bpf* skeleton) const { memory_bpf::destroy(skeleton); }
};
using Skeleton = std::unique_ptr<memory_bpf, Destroy>;

struct DestroyLink {
  void operator()(bpf_link* link) const { (void)bpf_link__destroy(link); }
};
using Link = std::unique_ptr<bpf_link, DestroyLink>;

struct ProgramRow {
  const char* name;
  bool MemorySees::*sight;
  const char* cost;  // what is not seen without it
};

constexpr const char* kTouchCost =
    "growth of a VM is seen by the size of its cgroup only";
constexpr const char* kDirectCost =
    "reclaim by a VM's own threads is not told from the host's";
constexpr const char* kMemcgCost =
    "reclaim at a VM's limits is seen by pressure and memory.stat only";

// Of a pair the second comes first: what ends is never of an unseen beginning.
constexpr std::array kPrograms = {
    ProgramRow{"on_first_touch", &MemorySees::first_touches, kTouchCost},
    ProgramRow{"on_direct_reclaim_end", &MemorySees::direct_reclaims,
               kDirectCost},
    ProgramRow{"on_direct_reclaim", &MemorySees::direct_reclaims, kDirectCost},
    ProgramRow{"on_memcg_reclaim_end", &MemorySees::memcg_reclaims, kMemcgCost},
    ProgramRow{"on_memcg_reclaim", &MemorySees::memcg_reclaims, kMemcgCost},
};

constexpr MemorySees kAll{true, true, true};

bool has_kvm_module() { return access("/sys/module/kvm", F_OK) == 0; }

Skeleton open_skeleton() {
  begin_bpf_log();
  return Skeleton{memory_bpf::open()};
}

bpf_program* program_of(const Skeleton& skeleton, const ProgramRow& row) {
  return bpf_object__find_program_by_name(skeleton->obj, row.name);
}

const ProgramRow* failed_program(const MemorySees& wanted) {
  const auto row = std::find_if(
      kPrograms.begin(), kPrograms.end(), [&wanted](const ProgramRow& one) {
        return wanted.*one.sight && bpf_log_blames(one.name);
      });
  return row == kPrograms.end() ? nullptr : &*row;
}

std::size_t page_bytes() {
  return static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
}

}  // namespace

// Invariant: `mapped` is the start of the figures' map, slots below `reached`.
struct MemoryPrograms::Loaded {
  struct User {
    pid_t tgid = 0;  // 0: the slot is free
    std::vector<std::uint64_t> cgroup_ids;
  };

  explicit Loaded(Skeleton ready) : skeleton(std::move(ready)) {}
  Loaded(const Loaded&) = delete;
  Loaded& operator=(const Loaded&) = delete;
  ~Loaded() {
    if (mapped != nullptr) munmap(mapped, bytes_of(reached));
  }
  static std::size_t bytes_of(std::uint32_t slots) {
    return slots * sizeof(eyes_memory);
  }

  Skeleton skeleton;
  std::vector<Link> links;
  eyes_memory* mapped = nullptr;
  std::uint32_t reached = 0;
  std::vector<User> users = std::vector<User>(1);  // 0 is nobody's
};

MemoryPrograms::MemoryPrograms(std::unique_ptr<Loaded> loaded)
    : loaded_(std::move(loaded)) {}

MemoryPrograms::~MemoryPrograms() = default;

Result<std::unique_ptr<MemoryPrograms>> MemoryPrograms::load() {
  MemorySees wanted = kAll;
  std::vector<MissingProgram> missing;
  wanted.first_touches = has_kvm_module();
  if (!wanted.first_touches) {
    missing.push_back({"KVM tracepoints", "the kvm module is not loaded"});
  }
  // One sight fewer at each turn, so this ends.
  for (;;) {
    Skeleton skeleton = open_skeleton();
    if (!skeleton) return fail(errno, "open BPF programs: " + bpf_log());
    for (const ProgramRow& row : kPrograms) {
      bpf_program__set_autoload(program_of(skeleton, row), wanted.*row.sight);
    }
    const int error = memory_bpf::load(skeleton.get());
    if (error == 0) {
      std::unique_ptr<MemoryPrograms> programs{
          new MemoryPrograms(std::make_unique<Loaded>(std::move(skeleton)))};
      programs->sees_ = wanted;
      programs->missing_ = std::move(missing);
      if (!programs->reach(0)) return fail(errno, "map the memory figures");
      programs->attach();
      return programs;
    }
    const ProgramRow* row = failed_program(wanted);
    if (row == nullptr) {
      return fail(-error, "load BPF programs of memory: " + bpf_log_reason());
    }
    missing.push_back({row->name, row->cost});
    wanted.*row->sight = false;
  }
}

void MemoryPrograms::attach() {
  for (const ProgramRow& row : kPrograms) {
    if (!(sees_.*row.sight)) continue;
    Link link{bpf_program__attach(program_of(loaded_->skeleton, row))};
    if (link) {
      loaded_->links.push_back(std::move(link));
      continue;
    }
    // Its pair's other half, if that is attached, finds nothing to end.
    missing_.push_back({row.name, row.cost});
    sees_.*row.sight = false;
  }
}

// Maps the figures up to `slot`, whole pages.
bool MemoryPrograms::reach(std::uint32_t slot) {
  Loaded& loaded = *loaded_;
  if (slot < loaded.reached) return true;
  const auto a_page =
      static_cast<std::uint32_t>(page_bytes() / sizeof(eyes_memory));
  const std::uint32_t reached = (slot / a_page + 1) * a_page;
  void* memory =
      mmap(nullptr, Loaded::bytes_of(reached), PROT_READ | PROT_WRITE,
           MAP_SHARED, bpf_map__fd(loaded.skeleton->maps.figures), 0);
  if (memory == MAP_FAILED) return false;
  if (loaded.mapped != nullptr) {
    munmap(loaded.mapped, Loaded::bytes_of(loaded.reached));
  }
  loaded.mapped = static_cast<eyes_memory*>(memory);
  loaded.reached = reached;
  return true;
}

Result<std::uint32_t> MemoryPrograms::open(
    pid_t tgid, std::span<const std::uint64_t> cgroup_ids) {
  auto& users = loaded_->users;
  const auto free =
      std::find_if(users.begin() + 1, users.end(),
                   [](const Loaded::User& user) { return user.tgid == 0; });
  const auto slot = static_cast<std::uint32_t>(free - users.begin());
  if (slot >= EYES_MEMORY_SLOTS_MAX) return fail(ENOSPC, "no memory slot left");
  if (!reach(slot)) return fail(errno, "map the memory figures");
  if (slot == users.size()) users.emplace_back();
  loaded_->mapped[slot] = eyes_memory{};
  users[slot].tgid = tgid;
  const auto key = static_cast<__u32>(tgid);
  const auto& maps = loaded_->skeleton->maps;
  if (bpf_map_update_elem(bpf_map__fd(maps.slot_of_tgid), &key, &slot, 0)) {
    const int error = errno;
    close(slot);
    return fail(error, "no room for a process's memory slot");
  }
  for (const std::uint64_t id : cgroup_ids) {
    if (bpf_map_update_elem(bpf_map__fd(maps.slot_of_cgroup), &id, &slot, 0)) {
      const int error = errno;
      close(slot);
      return fail(error, "no room for a cgroup's memory slot");
    }
    users[slot].cgroup_ids.push_back(id);
  }
  return slot;
}

void MemoryPrograms::close(std::uint32_t slot) {
  assert(slot > 0 && slot < loaded_->users.size());
  Loaded::User& user = loaded_->users[slot];
  const auto& maps = loaded_->skeleton->maps;
  const auto key = static_cast<__u32>(user.tgid);
  // What is not there any more is as good.
  (void)bpf_map_delete_elem(bpf_map__fd(maps.slot_of_tgid), &key);
  for (const std::uint64_t id : user.cgroup_ids) {
    (void)bpf_map_delete_elem(bpf_map__fd(maps.slot_of_cgroup), &id);
  }
  user = Loaded::User{};
}

eyes_memory MemoryPrograms::at(std::uint32_t slot) const {
  assert(slot < loaded_->reached);
  const eyes_memory& live = loaded_->mapped[slot];
  const auto read = [](const __u64& figure) {
    return __atomic_load_n(&figure, __ATOMIC_RELAXED);
  };
  return {.first_touches = read(live.first_touches),
          .direct_reclaims = read(live.direct_reclaims),
          .direct_reclaim_ns = read(live.direct_reclaim_ns),
          .memcg_reclaims = read(live.memcg_reclaims),
          .memcg_reclaim_ns = read(live.memcg_reclaim_ns),
          .memcg_pages = read(live.memcg_pages),
          .untimed = read(live.untimed),
          .pad = 0};
}

std::vector<ProgramVerdict> probe_memory_programs() {
  std::vector<ProgramVerdict> verdicts;
  for (const ProgramRow& row : kPrograms) {
    ProgramVerdict verdict;
    verdict.name = row.name;
    verdict.cost = row.cost;
    verdict.wanted =
        row.sight != &MemorySees::first_touches || has_kvm_module();
    Skeleton skeleton = open_skeleton();
    if (skeleton) {
      for (const ProgramRow& other : kPrograms) {
        bpf_program__set_autoload(program_of(skeleton, other), &other == &row);
      }
      verdict.loads = memory_bpf::load(skeleton.get()) == 0;
    }
    if (!verdict.loads) verdict.why = bpf_log_reason();
    verdicts.push_back(std::move(verdict));
  }
  return verdicts;
}

}  // namespace outrider
