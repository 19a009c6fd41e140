// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <bpf/libbpf.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "agent/slots.h"
#include "agent/sys/fd.h"

struct vcpu_bpf;
struct empty_bpf;

namespace outrider::bench {

/// The eyes' programs loaded, to be attached and detached at will; the sensor
/// itself keeps them attached for good.
class Programs {
 public:
  struct Options {
    bool edges = false;
    std::uint32_t blame_every = 0;
    bool kvm = false;
  };
  explicit Programs(Options options);
  ~Programs();

  void attach(const char* name);
  void attach_all();
  void detach_all();
  Slots& slots() { return *slots_; }
  bpf_program* program(const char* name) const;
  std::uint32_t jited_bytes(const char* name) const;

 private:
  struct Skeletons;
  std::unique_ptr<Skeletons> skeletons_;
  std::unique_ptr<Slots> slots_;
  std::vector<bpf_link*> links_;
};

/// Run time that the kernel has booked for a program since it was loaded.
struct RunStats {
  std::uint64_t time_ns = 0;
  std::uint64_t count = 0;
};
RunStats run_stats(const bpf_program* program);

/// Switches the kernel's own booking on while it lives.
Fd enable_run_stats();

}  // namespace outrider::bench
