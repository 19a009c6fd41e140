// SPDX-License-Identifier: Apache-2.0
#include "bench/probe/programs.h"

#include <bpf/bpf.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "bpf/records.h"
// After the records it is made of.
#include "empty.skel.h"
#include "vcpu.skel.h"

namespace outrider::bench {

struct Programs::Skeletons {
  vcpu_bpf* eyes = nullptr;
  empty_bpf* empty = nullptr;
};

namespace {

[[noreturn]] void give_up(const char* what) {
  fprintf(stderr, "bench_probe: %s: %s\n", what, strerror(errno));
  exit(1);
}

bool is_kvm(const char* program) { return strstr(program, "kvm") != nullptr; }

// The variants that this kernel's KVM is read by.
bool is_chosen(const std::string& name, bool amd) {
  if (name == "on_kvm_exit_intel") return false;
  const bool is_amd = name == "on_kvm_exit_amd" || name == "on_kvm_mmio_amd";
  if (is_amd) return amd;
  const bool either = name == "on_kvm_entry";
  return either || !amd;
}

void choose(bpf_object* object, bool kvm) {
  const bool amd = access("/sys/kernel/btf/kvm_amd", F_OK) == 0;
  bpf_program* program = nullptr;
  bpf_object__for_each_program(program, object) {
    const char* name = bpf_program__name(program);
    bpf_program__set_autoload(
        program, !is_kvm(name) || (kvm && (strstr(name, "empty") != nullptr ||
                                           is_chosen(name, amd))));
  }
}

}  // namespace

Programs::Programs(Options options) : skeletons_(new Skeletons) {
  skeletons_->eyes = vcpu_bpf::open();
  skeletons_->empty = empty_bpf::open();
  if (!skeletons_->eyes || !skeletons_->empty) give_up("open programs");
  vcpu_bpf& eyes = *skeletons_->eyes;
  eyes.rodata->edges_on = options.edges;
  eyes.rodata->blame_every = options.blame_every;
  eyes.rodata->blame_below =
      options.blame_every == 0 ? 0 : 0xffffffffU / options.blame_every;
  choose(eyes.obj, options.kvm);
  choose(skeletons_->empty->obj, options.kvm);
  if (vcpu_bpf::load(&eyes) != 0) give_up("load the eyes");
  if (empty_bpf::load(skeletons_->empty) != 0) give_up("load the yardstick");
  auto& shared = *eyes.bss;
  slots_ = std::make_unique<Slots>(
      Eyes{.threads = shared.threads,
           .vcpus = shared.vcpus,
           .vms = shared.vms,
           .free_slots = shared.free_slots,
           .free_head = &shared.free_head,
           .free_tail = &shared.free_tail,
           .serial_last = &shared.serial_last,
           .generation = &shared.generation,
           .clock_pair = &shared.clock_pair,
           .lost = &shared.lost,
           .index = [&shared](pid_t tid) -> __u16& {
             return shared.slot_of_pid[tid];
           },
           .reach = [](std::uint32_t) { return true; }});
}

Programs::~Programs() {
  detach_all();
  vcpu_bpf::destroy(skeletons_->eyes);
  empty_bpf::destroy(skeletons_->empty);
}

bpf_program* Programs::program(const char* name) const {
  bpf_program* found =
      bpf_object__find_program_by_name(skeletons_->eyes->obj, name);
  if (found == nullptr) {
    found = bpf_object__find_program_by_name(skeletons_->empty->obj, name);
  }
  if (found == nullptr) give_up(name);
  return found;
}

void Programs::attach(const char* name) {
  bpf_link* link = bpf_program__attach(program(name));
  if (libbpf_get_error(link) != 0) give_up(name);
  links_.push_back(link);
}

void Programs::attach_all() {
  bpf_program* program = nullptr;
  bpf_object__for_each_program(program, skeletons_->eyes->obj) {
    if (bpf_program__autoload(program)) attach(bpf_program__name(program));
  }
}

void Programs::detach_all() {
  for (bpf_link* link : links_) bpf_link__destroy(link);
  links_.clear();
}

std::uint32_t Programs::jited_bytes(const char* name) const {
  bpf_prog_info info{};
  __u32 size = sizeof(info);
  if (bpf_obj_get_info_by_fd(bpf_program__fd(program(name)), &info, &size) !=
      0) {
    return 0;
  }
  return info.jited_prog_len;
}

RunStats run_stats(const bpf_program* program) {
  bpf_prog_info info{};
  __u32 size = sizeof(info);
  if (bpf_obj_get_info_by_fd(bpf_program__fd(program), &info, &size) != 0) {
    give_up("program info");
  }
  return {info.run_time_ns, info.run_cnt};
}

Fd enable_run_stats() {
  Fd fd{bpf_enable_stats(BPF_STATS_RUN_TIME)};
  if (!fd) give_up("kernel.bpf_stats_enabled");
  return fd;
}

}  // namespace outrider::bench
