// SPDX-License-Identifier: Apache-2.0
#include "agent/core/record_sample.h"

#include <array>
#include <string>
#include <utility>

#include "agent/core/record_shape.h"

namespace outrider {
namespace {

constexpr std::uint8_t kShapeFollows = 1;
constexpr std::uint8_t kBlameFollows = 2;

// Bits of the masks. The seven most frequent of a vCPU fit in one byte.
enum ThreadBit : std::uint32_t {
  kState,
  kWait,
  kRun,
  kOpenRun,
  kOpenWait,
  kWakeups,
  kMigrations,
};
constexpr std::array<ExitClass, kExitClasses> kExitOrder = {
    ExitClass::kHalt,     ExitClass::kIo,        ExitClass::kMmio,
    ExitClass::kMsr,      ExitClass::kInterrupt, ExitClass::kOther,
    ExitClass::kPageFault};
constexpr std::size_t kVcpuFigures = kExitClasses + 2;

bool busy(ThreadState state) {
  return state == ThreadState::kWaiting || state == ThreadState::kRunning;
}

std::uint64_t count_of(Instant instant) {
  return static_cast<std::uint64_t>(instant.time_since_epoch().count());
}

// --- Values -----------------------------------------------------------------

/// Where a thread's figures are expected, given its state and, in the order in
/// which they are coded, the figures before.
struct Expected {
  const ThreadSample& base;
  std::uint64_t elapsed_ns;

  std::uint64_t run(const ThreadSample& now) const {
    if (!busy(base.state) || !busy(now.state)) return base.run_ns;
    return base.run_ns + elapsed_ns - (now.wait_ns - base.wait_ns);
  }
  std::uint64_t open_run(const ThreadSample& now) const {
    if (!busy(now.state)) return 0;
    return base.open_run_ns + (now.run_ns - base.run_ns);
  }
  std::uint64_t open_wait(const ThreadSample& now) const {
    if (!busy(now.state)) return 0;
    return base.open_wait_ns + (now.wait_ns - base.wait_ns);
  }
};

std::uint32_t bit_if(bool differs, std::uint32_t bit) {
  return differs ? 1U << bit : 0U;
}

std::uint32_t mask_of(const ThreadSample& now, const Expected& expected) {
  const ThreadSample& base = expected.base;
  return bit_if(now.state != base.state, kState) |
         bit_if(now.wait_ns != base.wait_ns, kWait) |
         bit_if(now.run_ns != expected.run(now), kRun) |
         bit_if(now.open_run_ns != expected.open_run(now), kOpenRun) |
         bit_if(now.open_wait_ns != expected.open_wait(now), kOpenWait) |
         bit_if(now.wakeups != base.wakeups, kWakeups) |
         bit_if(now.migrations != base.migrations, kMigrations);
}

bool has(std::uint64_t mask, std::uint32_t bit) {
  return ((mask >> bit) & 1) != 0;
}

void encode_figures(const ThreadSample& now, const Expected& expected,
                    std::uint32_t mask, ByteWriter& out) {
  const ThreadSample& base = expected.base;
  if (has(mask, kState)) out.u8(static_cast<std::uint8_t>(now.state));
  if (has(mask, kWait)) out.step(base.wait_ns, now.wait_ns);
  if (has(mask, kRun)) out.step(expected.run(now), now.run_ns);
  if (has(mask, kOpenRun)) out.step(expected.open_run(now), now.open_run_ns);
  if (has(mask, kOpenWait)) {
    out.step(expected.open_wait(now), now.open_wait_ns);
  }
  // Of 32 bits, and so is the way between them.
  if (has(mask, kWakeups)) {
    out.varint(std::uint32_t{now.wakeups - base.wakeups});
  }
  if (has(mask, kMigrations)) {
    out.varint(std::uint32_t{now.migrations - base.migrations});
  }
}

ThreadState decode_state(ByteReader& bytes) {
  const std::uint8_t state = bytes.u8();
  if (state > static_cast<std::uint8_t>(ThreadState::kExited)) bytes.reject();
  return bytes.ok() ? static_cast<ThreadState>(state) : ThreadState::kUnknown;
}

/// Brings one thread forward in place.
void decode_figures(ByteReader& bytes, std::uint64_t mask,
                    std::uint64_t elapsed_ns, ThreadSample& thread) {
  const ThreadSample base = thread;
  const Expected expected{base, elapsed_ns};
  if (has(mask, kState)) thread.state = decode_state(bytes);
  if (has(mask, kWait)) thread.wait_ns = bytes.step(base.wait_ns);
  thread.run_ns = expected.run(thread);
  if (has(mask, kRun)) thread.run_ns = bytes.step(thread.run_ns);
  thread.open_run_ns = expected.open_run(thread);
  if (has(mask, kOpenRun)) {
    thread.open_run_ns = bytes.step(thread.open_run_ns);
  }
  thread.open_wait_ns = expected.open_wait(thread);
  if (has(mask, kOpenWait)) {
    thread.open_wait_ns = bytes.step(thread.open_wait_ns);
  }
  if (has(mask, kWakeups)) {
    thread.wakeups += bytes.varint32();
  }
  if (has(mask, kMigrations)) {
    thread.migrations += bytes.varint32();
  }
}

/// A VM's or vCPU's figures as an array: the order is the format's.
auto figures(auto& vm) requires requires { vm.throttled_ns; }
{
  return std::array{&vm.throttled_ns, &vm.throttled_count, &vm.all_runnable_ns};
}
auto figures(auto& vcpu) requires requires { vcpu.halt_poll_ns; }
{
  std::array<decltype(&vcpu.halt_poll_ns), kVcpuFigures> all{};
  all[0] = &vcpu.halt_poll_ns;
  for (std::size_t e = 0; e < kExitClasses; ++e) {
    all[e + 1] = &vcpu.exits[static_cast<std::size_t>(kExitOrder[e])];
  }
  all[kVcpuFigures - 1] = &vcpu.guest_ns;
  return all;
}

template <class T>
std::uint32_t mask_of(const T& now, const T& base) {
  const auto is = figures(now);
  const auto was = figures(base);
  std::uint32_t mask = 0;
  for (std::uint32_t i = 0; i < is.size(); ++i) {
    mask |= bit_if(*is[i] != *was[i], i);
  }
  return mask;
}

template <class T>
void encode_figures(const T& now, const T& base, std::uint32_t mask,
                    ByteWriter& out) {
  const auto is = figures(now);
  const auto was = figures(base);
  for (std::uint32_t i = 0; i < is.size(); ++i) {
    if (has(mask, i)) out.step(*was[i], *is[i]);
  }
}

template <class T>
void decode_figures(ByteReader& bytes, std::uint64_t mask, T& value) {
  const auto all = figures(value);
  for (std::uint32_t i = 0; i < all.size(); ++i) {
    if (has(mask, i)) *all[i] = bytes.step(*all[i]);
  }
}

/// Writes masks; those of 0 that follow one another become one and a count.
class MaskWriter {
 public:
  explicit MaskWriter(ByteWriter& out) : out_(out) {}

  void unchanged() { ++unchanged_; }
  void mask(std::uint32_t mask) {
    finish();
    out_.varint(mask);
  }
  void finish() {
    if (unchanged_ == 0) return;
    out_.varint(0);
    out_.varint(unchanged_ - 1);
    unchanged_ = 0;
  }

 private:
  ByteWriter& out_;
  std::uint64_t unchanged_ = 0;
};

class MaskReader {
 public:
  explicit MaskReader(ByteReader& bytes) : bytes_(bytes) {}

  /// The mask of the next of `left` things.
  std::uint64_t next(std::size_t left) {
    if (unchanged_ > 0) {
      --unchanged_;
      return 0;
    }
    const std::uint64_t mask = bytes_.varint();
    if (mask != 0 || !bytes_.ok()) return mask;
    unchanged_ = bytes_.varint();
    if (unchanged_ >= left) bytes_.reject();
    return 0;
  }

 private:
  ByteReader& bytes_;
  std::uint64_t unchanged_ = 0;
};

template <class T>
void encode_all(const std::vector<T>& now, const std::vector<T>& base,
                ByteWriter& out) {
  MaskWriter masks(out);
  for (std::size_t i = 0; i < now.size(); ++i) {
    const std::uint32_t mask = mask_of(now[i], base[i]);
    if (mask == 0) {
      masks.unchanged();
      continue;
    }
    masks.mask(mask);
    encode_figures(now[i], base[i], mask, out);
  }
  masks.finish();
}

void encode_threads(const Sample& now, const Sample& base, ByteWriter& out) {
  const std::uint64_t elapsed_ns = count_of(now.taken) - count_of(base.taken);
  MaskWriter masks(out);
  for (std::size_t i = 0; i < now.threads.size(); ++i) {
    const Expected expected{base.threads[i], elapsed_ns};
    const std::uint32_t mask = mask_of(now.threads[i], expected);
    if (mask == 0) {
      masks.unchanged();
      continue;
    }
    masks.mask(mask);
    encode_figures(now.threads[i], expected, mask, out);
  }
  masks.finish();
}

template <class T>
void decode_all(ByteReader& bytes, std::vector<T>& all) {
  MaskReader masks(bytes);
  for (std::size_t i = 0; i < all.size() && bytes.ok(); ++i) {
    decode_figures(bytes, masks.next(all.size() - i), all[i]);
  }
}

void decode_threads(ByteReader& bytes, std::uint64_t elapsed_ns,
                    std::vector<ThreadSample>& all) {
  MaskReader masks(bytes);
  for (std::size_t i = 0; i < all.size() && bytes.ok(); ++i) {
    decode_figures(bytes, masks.next(all.size() - i), elapsed_ns, all[i]);
  }
}

// --- Blame ------------------------------------------------------------------

std::uint64_t wait_before(const std::vector<BlameSample>& base, std::size_t i) {
  return i < base.size() ? base[i].wait_ns : 0;
}

void encode_blame(const std::vector<BlameSample>& now,
                  const std::vector<BlameSample>& base, ByteWriter& out) {
  out.varint(now.size());
  std::uint32_t waiter = 0;
  for (std::size_t i = 0; i < now.size(); ++i) {
    const BlameSample& blame = now[i];
    out.step(waiter, std::uint32_t(blame.waiter));
    out.u8(static_cast<std::uint8_t>(blame.holder));
    out.varint(std::uint32_t(blame.holder_vm));
    out.varint(blame.holder_pid);
    out.step(wait_before(base, i), blame.wait_ns);
    waiter = std::uint32_t(blame.waiter);
  }
}

void decode_blame(ByteReader& bytes, std::vector<BlameSample>& all) {
  std::vector<BlameSample> now(bytes.count(kRecordBlameMax));
  std::uint32_t waiter = 0;
  for (std::size_t i = 0; i < now.size() && bytes.ok(); ++i) {
    waiter = bytes.step32(waiter);
    const std::uint8_t holder = bytes.u8();
    if (holder > static_cast<std::uint8_t>(BlameSample::Holder::kIdle)) {
      return bytes.reject();
    }
    now[i].waiter = VmId{waiter};
    now[i].holder = static_cast<BlameSample::Holder>(holder);
    now[i].holder_vm = VmId{bytes.varint32()};
    now[i].holder_pid = bytes.varint32();
    now[i].wait_ns = bytes.step(wait_before(all, i));
  }
  all = std::move(now);
}

Result<> check_most(std::size_t count, std::size_t most, const char* of) {
  if (count <= most) return {};
  return fail(0, std::to_string(count) + " " + of + ", at most " +
                     std::to_string(most));
}

}  // namespace

Result<> check_recordable(const Sample& sample) {
  Result<> checked = check_most(sample.vms.size(), kRecordVmsMax, "VMs");
  if (!checked) return checked;
  checked = check_most(sample.threads.size(), kRecordThreadsMax, "threads");
  if (!checked) return checked;
  checked = check_most(sample.vcpus.size(), sample.threads.size(), "vCPUs");
  if (!checked) return checked;
  checked = check_most(sample.blame.size(), kRecordBlameMax, "waits blamed");
  if (!checked) return checked;
  if (!ranges_fit(sample)) return fail(0, "a VM's threads are out of range");
  return {};
}

void encode_sample(const Sample& sample, Sample& base,
                   std::vector<std::byte>& out) {
  ByteWriter bytes(out);
  bytes.step(count_of(base.taken), count_of(sample.taken));
  bytes.step(base.lost, sample.lost);
  const bool shape = !same_shape(sample, base);
  const bool blame = sample.blame != base.blame;
  bytes.u8(static_cast<std::uint8_t>((shape ? kShapeFollows : 0) |
                                     (blame ? kBlameFollows : 0)));
  if (shape) {
    encode_shape(sample, bytes);
    base = in_shape(sample, base);
  }
  encode_all(sample.vms, base.vms, bytes);
  encode_threads(sample, base, bytes);
  encode_all(sample.vcpus, base.vcpus, bytes);
  if (blame) encode_blame(sample.blame, base.blame, bytes);
  base = sample;
}

void decode_sample(ByteReader& bytes, Sample& base) {
  const std::uint64_t taken = bytes.step(count_of(base.taken));
  const std::uint64_t elapsed_ns = taken - count_of(base.taken);
  base.lost = bytes.step(base.lost);
  const std::uint8_t flags = bytes.u8();
  if (flags > (kShapeFollows | kBlameFollows)) bytes.reject();
  if ((flags & kShapeFollows) != 0) {
    Sample shape = decode_shape(bytes);
    if (!bytes.ok()) return;
    base = in_shape(std::move(shape), base);
  }
  decode_all(bytes, base.vms);
  decode_threads(bytes, elapsed_ns, base.threads);
  decode_all(bytes, base.vcpus);
  if ((flags & kBlameFollows) != 0) decode_blame(bytes, base.blame);
  base.taken = Instant{Duration{static_cast<std::int64_t>(taken)}};
}

}  // namespace outrider
