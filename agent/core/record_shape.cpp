// SPDX-License-Identifier: Apache-2.0
#include "agent/core/record_shape.h"

#include <algorithm>
#include <cstdint>
#include <limits>
#include <utility>
#include <vector>

namespace outrider {
namespace {

VmSample decode_vm_shape(ByteReader& bytes, const VmSample& before) {
  VmSample vm;
  vm.id = VmId{bytes.step32(std::uint32_t(before.id))};
  vm.first_thread =
      bytes.step32(std::uint64_t{before.first_thread} + before.thread_count);
  vm.thread_count = bytes.varint32();
  vm.first_vcpu =
      bytes.step32(std::uint64_t{before.first_vcpu} + before.vcpu_count);
  vm.vcpu_count = bytes.varint32();
  return vm;
}

ThreadSample decode_thread_shape(ByteReader& bytes, const ThreadSample& last) {
  ThreadSample thread;
  thread.id = ThreadId{bytes.step32(std::uint32_t(last.id))};
  thread.vm = VmId{bytes.step32(std::uint32_t(last.vm))};
  thread.tid = bytes.step32(last.tid);
  const std::uint64_t coded = bytes.varint();
  if (coded / kThreadClasses > std::numeric_limits<std::uint16_t>::max()) {
    bytes.reject();
  }
  thread.vcpu = static_cast<std::uint16_t>(coded / kThreadClasses);
  thread.thread_class = static_cast<ThreadClass>(coded % kThreadClasses);
  return thread;
}

/// Where each identity is; the first one if it is there twice.
template <class Id>
class Places {
 public:
  template <class T>
  explicit Places(const std::vector<T>& all) {
    for (std::uint32_t i = 0; i < all.size(); ++i) {
      places_.push_back({all[i].id, i});
    }
    std::ranges::sort(places_);
  }
  /// nullptr if it is nowhere.
  const std::uint32_t* find(Id id) const {
    const auto at = std::ranges::lower_bound(places_, std::pair{id, 0U});
    return at != places_.end() && at->first == id ? &at->second : nullptr;
  }

 private:
  std::vector<std::pair<Id, std::uint32_t>> places_;
};

/// The thread that each vCPU figure belongs to; kNone where there is none.
constexpr std::uint32_t kNone = std::numeric_limits<std::uint32_t>::max();
std::vector<std::uint32_t> threads_of_vcpus(const Sample& sample) {
  std::vector<std::uint32_t> threads(sample.vcpus.size(), kNone);
  for (const VmSample& vm : sample.vms) {
    const std::uint32_t both = std::min(vm.vcpu_count, vm.thread_count);
    for (std::uint32_t i = 0; i < both; ++i) {
      threads[vm.first_vcpu + i] = vm.first_thread + i;
    }
  }
  return threads;
}

void take_figures(const VmSample& from, VmSample& to) {
  to.all_runnable_ns = from.all_runnable_ns;
  to.throttled_ns = from.throttled_ns;
  to.throttled_count = from.throttled_count;
}

void take_figures(const ThreadSample& from, ThreadSample& to) {
  to.state = from.state;
  to.run_ns = from.run_ns;
  to.wait_ns = from.wait_ns;
  to.open_run_ns = from.open_run_ns;
  to.open_wait_ns = from.open_wait_ns;
  to.wakeups = from.wakeups;
  to.migrations = from.migrations;
}

}  // namespace

bool same_shape(const Sample& a, const Sample& b) {
  const auto same_vm = [](const VmSample& x, const VmSample& y) {
    return x.id == y.id && x.first_thread == y.first_thread &&
           x.thread_count == y.thread_count && x.first_vcpu == y.first_vcpu &&
           x.vcpu_count == y.vcpu_count;
  };
  const auto same_thread = [](const ThreadSample& x, const ThreadSample& y) {
    return x.id == y.id && x.vm == y.vm && x.tid == y.tid && x.vcpu == y.vcpu &&
           x.thread_class == y.thread_class;
  };
  return a.vcpus.size() == b.vcpus.size() &&
         std::ranges::equal(a.vms, b.vms, same_vm) &&
         std::ranges::equal(a.threads, b.threads, same_thread);
}

void encode_shape(const Sample& sample, ByteWriter& out) {
  out.varint(sample.vms.size());
  VmSample before;
  for (const VmSample& vm : sample.vms) {
    out.step(std::uint32_t(before.id), std::uint32_t(vm.id));
    out.step(std::uint64_t{before.first_thread} + before.thread_count,
             vm.first_thread);
    out.varint(vm.thread_count);
    out.step(std::uint64_t{before.first_vcpu} + before.vcpu_count,
             vm.first_vcpu);
    out.varint(vm.vcpu_count);
    before = vm;
  }
  out.varint(sample.threads.size());
  ThreadSample last;
  for (const ThreadSample& thread : sample.threads) {
    out.step(std::uint32_t(last.id), std::uint32_t(thread.id));
    out.step(std::uint32_t(last.vm), std::uint32_t(thread.vm));
    out.step(last.tid, thread.tid);
    out.varint(std::uint32_t{thread.vcpu} * kThreadClasses +
               static_cast<std::uint32_t>(thread.thread_class));
    last = thread;
  }
  out.varint(sample.vcpus.size());
}

bool ranges_fit(const Sample& sample) {
  return std::ranges::all_of(sample.vms, [&](const VmSample& vm) {
    return std::uint64_t{vm.first_thread} + vm.thread_count <=
               sample.threads.size() &&
           std::uint64_t{vm.first_vcpu} + vm.vcpu_count <= sample.vcpus.size();
  });
}

Sample decode_shape(ByteReader& bytes) {
  Sample shape;
  shape.vms.resize(bytes.count(kRecordVmsMax));
  VmSample before;
  for (VmSample& vm : shape.vms) vm = before = decode_vm_shape(bytes, before);
  shape.threads.resize(bytes.count(kRecordThreadsMax));
  ThreadSample last;
  for (ThreadSample& thread : shape.threads) {
    thread = last = decode_thread_shape(bytes, last);
  }
  const std::uint64_t vcpus = bytes.varint();
  if (vcpus > shape.threads.size()) bytes.reject();
  if (!bytes.ok()) return {};
  shape.vcpus.resize(static_cast<std::size_t>(vcpus));
  if (!ranges_fit(shape)) bytes.reject();
  return shape;
}

Sample in_shape(Sample shape, const Sample& base) {
  const Places<VmId> vms(base.vms);
  for (VmSample& vm : shape.vms) {
    const std::uint32_t* at = vms.find(vm.id);
    take_figures(at != nullptr ? base.vms[*at] : VmSample{}, vm);
  }
  const Places<ThreadId> threads(base.threads);
  for (ThreadSample& thread : shape.threads) {
    const std::uint32_t* at = threads.find(thread.id);
    take_figures(at != nullptr ? base.threads[*at] : ThreadSample{}, thread);
  }
  std::vector<std::uint32_t> vcpu_of_thread(base.threads.size(), kNone);
  const std::vector<std::uint32_t> old_threads = threads_of_vcpus(base);
  for (std::uint32_t v = 0; v < old_threads.size(); ++v) {
    if (old_threads[v] != kNone) vcpu_of_thread[old_threads[v]] = v;
  }
  const std::vector<std::uint32_t> new_threads = threads_of_vcpus(shape);
  for (std::uint32_t v = 0; v < new_threads.size(); ++v) {
    shape.vcpus[v] = {};
    if (new_threads[v] == kNone) continue;
    const std::uint32_t* at = threads.find(shape.threads[new_threads[v]].id);
    if (at == nullptr || vcpu_of_thread[*at] == kNone) continue;
    shape.vcpus[v] = base.vcpus[vcpu_of_thread[*at]];
  }
  shape.taken = base.taken;
  shape.lost = base.lost;
  shape.blame = base.blame;
  return shape;
}

}  // namespace outrider
