// SPDX-License-Identifier: Apache-2.0
#include "agent/core/record.h"

#include <gtest/gtest.h>

#include <chrono>
#include <cstdint>
#include <limits>
#include <string>
#include <variant>
#include <vector>

#include "tests/unit/core/random_samples.h"
#include "tests/unit/core/sim_threads.h"

namespace outrider {
namespace {

using Bytes = std::vector<std::byte>;

constexpr std::uint64_t kHuge = std::numeric_limits<std::uint64_t>::max();

void append(RecordWriter& writer, const Sample& sample, Bytes& file) {
  const Result<> written = writer.sample(sample, file);
  ASSERT_TRUE(written) << written.error().what;
}

/// The Samples of an undamaged file.
std::vector<Sample> read_samples(const Bytes& file) {
  RecordReader reader(file);
  std::vector<Sample> samples;
  while (auto entry = reader.next()) {
    if (const auto* sample = std::get_if<const Sample*>(&*entry)) {
      samples.push_back(**sample);
    }
  }
  EXPECT_FALSE(reader.damage().has_value());
  EXPECT_EQ(reader.offset(), file.size());
  return samples;
}

TEST(Record, GivesBackWhatWasWritten) {
  const CameVm web{.id = VmId{3},
                   .name = "web\n\xff",
                   .uuid = "1b4e28ba-2fa1-11d2-883f-0016d3cca427",
                   .cgroup = "/machine.slice/a",
                   .pid = 4321};
  RecordWriter writer;
  Bytes file;
  writer.header(file);
  ASSERT_TRUE(writer.came(web, file));
  Sample sample = RandomSamples(1).next(10'000'000);
  append(writer, sample, file);
  writer.went({VmId{kHuge & 0xFFFFFFFF}}, file);

  RecordReader reader(file);
  auto entry = reader.next();
  ASSERT_TRUE(entry);
  EXPECT_EQ(std::get<CameVm>(*entry), web);
  entry = reader.next();
  ASSERT_TRUE(entry);
  EXPECT_EQ(*std::get<const Sample*>(*entry), sample);
  entry = reader.next();
  ASSERT_TRUE(entry);
  EXPECT_EQ(std::get<WentVm>(*entry).id, VmId{0xFFFFFFFF});
  EXPECT_FALSE(reader.next());
  EXPECT_FALSE(reader.damage());
}

TEST(Record, GivesBackRandomHostsOverAnyIntervals) {
  for (std::uint32_t seed = 0; seed < 200; ++seed) {
    SCOPED_TRACE(seed);
    RandomSamples host(seed);
    RecordWriter writer(1 + seed % 9);
    Bytes file;
    writer.header(file);
    std::vector<Sample> written;
    for (int tick = 0; tick < 30; ++tick) {
      if (host.one_in(3)) host.churn();
      written.push_back(host.next(1 + host.below(1'000'000'000)));
      append(writer, written.back(), file);
    }
    ASSERT_EQ(read_samples(file), written);
  }
}

/// Figures with no sense in them: every field is any number.
Sample noise(RandomSamples& random) {
  const auto any = [&] {
    const std::uint64_t high = random.below(kHuge);
    return random.one_in(3) ? kHuge - random.below(3)
                            : (high << 32) | random.below(kHuge);
  };
  Sample sample = random.next(5);
  sample.taken = Instant{Duration{static_cast<std::int64_t>(any())}};
  sample.lost = any();
  for (VmSample& vm : sample.vms) {
    vm.all_runnable_ns = any();
    vm.throttled_ns = any();
    vm.throttled_count = any();
  }
  for (ThreadSample& thread : sample.threads) {
    thread.state = static_cast<ThreadState>(random.below(5));
    thread.run_ns = any();
    thread.wait_ns = any();
    thread.open_run_ns = any();
    thread.open_wait_ns = any();
    thread.wakeups = static_cast<std::uint32_t>(any());
    thread.migrations = static_cast<std::uint32_t>(any());
  }
  for (VcpuSample& vcpu : sample.vcpus) {
    for (std::uint64_t& exits : vcpu.exits) exits = any();
    vcpu.halt_poll_ns = any();
    vcpu.guest_ns = any();
  }
  return sample;
}

TEST(Record, GivesBackFiguresOfAnySize) {
  for (std::uint32_t seed = 0; seed < 100; ++seed) {
    SCOPED_TRACE(seed);
    RandomSamples random(seed);
    RecordWriter writer(4);
    Bytes file;
    writer.header(file);
    std::vector<Sample> written;
    for (int tick = 0; tick < 10; ++tick) {
      written.push_back(noise(random));
      append(writer, written.back(), file);
    }
    ASSERT_EQ(read_samples(file), written);
  }
}

TEST(Record, BeginsAnewAtEachKeySample) {
  // The second file opens with a header and a key Sample of the same writer.
  RandomSamples host(5);
  RecordWriter writer(100);
  Bytes first;
  writer.header(first);
  append(writer, host.next(1000), first);
  append(writer, host.next(1000), first);
  Bytes second;
  writer.header(second);
  const Sample last = host.next(1000);
  append(writer, last, second);
  EXPECT_EQ(read_samples(second), std::vector<Sample>{last});
}

TEST(Record, GivesBackAnEmptyHost) {
  RecordWriter writer(2);
  Bytes file;
  writer.header(file);
  Sample sample;
  std::vector<Sample> written;
  for (int tick = 0; tick < 5; ++tick) {
    sample.taken += std::chrono::milliseconds{10};
    written.push_back(sample);
    append(writer, sample, file);
  }
  EXPECT_EQ(read_samples(file), written);
}

TEST(Record, RefusesWhatTheFormatCannotHoldAndWritesNothing) {
  RecordWriter writer;
  Bytes file;
  writer.header(file);
  const std::size_t before = file.size();

  Sample many;
  many.vms.resize(8'193);
  Result<> written = writer.sample(many, file);
  ASSERT_FALSE(written);
  EXPECT_EQ(written.error().what, "record: 8193 VMs, at most 8192");

  Sample astray;
  astray.vms.push_back({.id = VmId{1}, .thread_count = 1});
  written = writer.sample(astray, file);
  ASSERT_FALSE(written);
  EXPECT_EQ(written.error().what, "record: a VM's threads are out of range");

  CameVm wordy;
  wordy.name.assign(4'097, 'a');
  written = writer.came(wordy, file);
  ASSERT_FALSE(written);
  EXPECT_EQ(written.error().what, "record: a text of 4097 bytes, at most 4096");
  EXPECT_EQ(file.size(), before);
}

SimThreads busy_host() {
  SimThreads host(48);
  constexpr std::int64_t kMs = 1'000'000;
  for (std::uint32_t v = 0; v < 50; ++v) {
    host.add_vm(VmId{v}, v % 10 == 0 ? 20 * kMs : SimThreads::kNoCap);
    for (std::uint32_t c = 0; c < 2; ++c) {
      // A tenth hog, a third tick, half burst, the others are idle.
      const std::int64_t offset = (v * 7 + c * 13) % 100 * kMs;
      if (v % 10 == 0) {
        host.add_vcpu({.period = 1000 * kMs, .work = 1000 * kMs});
      } else if (v % 3 == 0) {
        host.add_vcpu({.period = 2 * kMs, .work = kMs / 5, .offset = offset});
      } else if (v % 2 == 0) {
        host.add_vcpu({.work = 10 * kMs, .offset = offset});
      } else {
        host.add_vcpu({.period = 4000 * kMs, .work = kMs / 10});
      }
    }
  }
  return host;
}

double bytes_per_thread(std::chrono::milliseconds interval) {
  SimThreads host = busy_host();
  RecordWriter writer;
  Bytes file;
  writer.header(file);
  std::size_t threads = 0;
  for (int tick = 0; tick < 300; ++tick) {
    host.run_for(interval);
    Sample sample = host.sample();
    // The simulation counts in steps; real figures are odd to the nanosecond.
    std::uint64_t odd = 0;
    for (ThreadSample& thread : sample.threads) {
      odd = (odd + 7'919) % 99'991;
      if (thread.state == ThreadState::kSleeping) thread.run_ns += odd;
    }
    threads += sample.threads.size();
    append(writer, sample, file);
  }
  return static_cast<double>(file.size()) / static_cast<double>(threads);
}

TEST(Record, OfABusyHostTakesFewBytesAThread) {
  // A ThreadSample and its VcpuSample are 144 bytes in memory. Measured: 4.3,
  // 6.4 and 7.7 bytes a thread, framing and key Samples included, of vCPUs
  // whose only exits are halts. Each further class of exits that moves costs 1
  // to 3.
  for (const int ms : {10, 100, 1000}) {
    const double bytes = bytes_per_thread(std::chrono::milliseconds{ms});
    std::printf("%d ms: %.1f bytes a thread\n", ms, bytes);
    EXPECT_LT(bytes, 12);
  }
}

}  // namespace
}  // namespace outrider
