// SPDX-License-Identifier: Apache-2.0
#include "agent/control_sample.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "tests/unit/shell/allocations.h"

namespace outrider {
namespace {

// A number of any size, up to what JSON carries.
template <class T>
T any(std::mt19937_64& random) {
  const std::uint64_t most = std::min<std::uint64_t>(
      std::numeric_limits<T>::max(), std::numeric_limits<std::int64_t>::max());
  return static_cast<T>((random() >> (random() % 64)) & most);
}

ThreadSample any_thread(std::mt19937_64& random) {
  ThreadSample thread;
  thread.id = static_cast<ThreadId>(any<std::uint32_t>(random));
  thread.vm = static_cast<VmId>(any<std::uint32_t>(random));
  thread.tid = any<std::uint32_t>(random);
  thread.vcpu = any<std::uint16_t>(random);
  thread.thread_class = static_cast<ThreadClass>(random() % kThreadClasses);
  thread.state = static_cast<ThreadState>(random() % 5);
  thread.run_ns = any<std::uint64_t>(random);
  thread.wait_ns = any<std::uint64_t>(random);
  thread.open_run_ns = any<std::uint64_t>(random);
  thread.open_wait_ns = any<std::uint64_t>(random);
  thread.wakeups = any<std::uint32_t>(random);
  thread.migrations = any<std::uint32_t>(random);
  return thread;
}

Sample any_sample(std::uint64_t seed) {
  std::mt19937_64 random(seed);
  Sample sample;
  sample.taken = Instant{Duration{any<std::int64_t>(random)}};
  sample.lost = any<std::uint64_t>(random);
  for (std::size_t vm = 0; vm < random() % 5; ++vm) {
    VmSample its;
    its.id = static_cast<VmId>(any<std::uint32_t>(random));
    its.first_thread = static_cast<std::uint32_t>(sample.threads.size());
    its.first_vcpu = static_cast<std::uint32_t>(sample.vcpus.size());
    its.vcpu_count = static_cast<std::uint32_t>(random() % 4);
    its.thread_count =
        its.vcpu_count + static_cast<std::uint32_t>(random() % 4);
    its.all_runnable_ns = any<std::uint64_t>(random);
    its.throttled_ns = any<std::uint64_t>(random);
    its.throttled_count = any<std::uint64_t>(random);
    for (std::uint32_t i = 0; i < its.thread_count; ++i)
      sample.threads.push_back(any_thread(random));
    for (std::uint32_t i = 0; i < its.vcpu_count; ++i) {
      VcpuSample vcpu;
      for (std::uint64_t& exits : vcpu.exits)
        exits = any<std::uint64_t>(random);
      vcpu.halt_poll_ns = any<std::uint64_t>(random);
      vcpu.guest_ns = any<std::uint64_t>(random);
      sample.vcpus.push_back(vcpu);
    }
    sample.vms.push_back(its);
    BlameSample blame;
    blame.waiter = its.id;
    blame.holder = static_cast<BlameSample::Holder>(random() % 3);
    blame.holder_vm = static_cast<VmId>(any<std::uint32_t>(random));
    blame.holder_pid = any<std::uint32_t>(random);
    blame.wait_ns = any<std::uint64_t>(random);
    sample.blame.push_back(blame);
  }
  return sample;
}

std::string text_of(const Sample& sample, const std::vector<Vm>& vms) {
  std::string text;
  JsonText json{text};
  json.object();
  write_sample(json, sample);
  write_identities(json, vms);
  json.end();
  return text;
}

Json parsed(const std::string& text) {
  return Json{
      json_loadb(text.data(), text.size(), JSON_REJECT_DUPLICATES, nullptr)};
}

TEST(ControlSample, GoesThereAndBack) {
  for (std::uint64_t seed = 0; seed < 500; ++seed) {
    SCOPED_TRACE(seed);
    const Sample sample = any_sample(seed);
    const Json line = parsed(text_of(sample, {}));
    ASSERT_TRUE(line);
    const auto back = parse_sample(line.get());
    ASSERT_TRUE(back) << back.error().what;
    EXPECT_TRUE(*back == sample);
  }
}

TEST(ControlSample, IdentitiesGoThereAndBack) {
  std::vector<Vm> vms(2);
  vms[0].id = VmId{7};
  vms[0].identity = {.pid = 4242,
                     .start_ticks = 99,
                     .name = "web \"3\"\n",
                     .uuid = "0b9c6f7e-6f0a-4b0e-9a57-0d6f9a3e1c11",
                     .cgroup = "/machine.slice/x\\x2d.scope",
                     .cgroup_id = 123456789012,
                     .origin = VmOrigin::kLibvirt};
  vms[0].attached = Instant{Duration{5}};
  vms[1].id = VmId{8};
  vms[1].identity.origin = VmOrigin::kOperator;
  const Json line = parsed(text_of({}, vms));
  ASSERT_TRUE(line);
  ASSERT_TRUE(has_identities(line.get()));
  const auto back = parse_identities(line.get());
  ASSERT_TRUE(back) << back.error().what;
  ASSERT_EQ(back->size(), 2U);
  for (std::size_t i = 0; i < 2; ++i) {
    EXPECT_EQ((*back)[i].id, vms[i].id);
    EXPECT_TRUE((*back)[i].identity == vms[i].identity);
    EXPECT_EQ((*back)[i].attached, vms[i].attached);
  }
}

TEST(ControlSample, ARowHasAsManyNumbersAsColumns) {
  const Json line = parsed(text_of(any_sample(3), {}));
  const json_t* columns = json_object_get(line.get(), "columns");
  for (const char* part : {"vms", "threads", "vcpus", "blame"}) {
    const json_t* rows = json_object_get(line.get(), part);
    ASSERT_GT(json_array_size(rows), 0U) << part;
    EXPECT_EQ(json_array_size(json_array_get(rows, 0)),
              json_array_size(json_object_get(columns, part)))
        << part;
  }
}

TEST(ControlSample, RefusesEveryDamageOfOneNumber) {
  const Sample sample = any_sample(3);
  const std::string whole = text_of(sample, {});
  for (const char* part : {"vms", "threads", "vcpus", "blame"}) {
    const Json counted = parsed(whole);
    const std::size_t columns = json_array_size(
        json_array_get(json_object_get(counted.get(), part), 0));
    for (std::size_t column = 0; column < columns; ++column) {
      for (json_t* bad :
           {json_integer(-1), json_string("1"), json_real(1), json_null()}) {
        const Json line = parsed(whole);
        json_array_set_new(json_array_get(json_object_get(line.get(), part), 0),
                           column, bad);
        EXPECT_FALSE(parse_sample(line.get())) << part << " " << column;
      }
    }
    const Json line = parsed(whole);
    json_array_append_new(json_array_get(json_object_get(line.get(), part), 0),
                          json_integer(0));
    EXPECT_FALSE(parse_sample(line.get())) << part << ": a number too many";
  }
}

TEST(ControlSample, RefusesWhatPointsOutside) {
  for (const char* rows :
       {"[[1,0,1,0,0,0,0,0]]", "[[1,4294967295,4294967295,0,0,0,0,0]]",
        "[[1,0,0,0,1,0,0,0]]", "[[1,0,0,1,0,0,0,0]]"}) {
    const Json line =
        parsed(R"({"taken_ns":1,"lost":0,"threads":[],"vcpus":[],"blame":[],)"
               "\"vms\":" +
               std::string(rows) + "}");
    ASSERT_TRUE(line) << rows;
    EXPECT_FALSE(parse_sample(line.get())) << rows;
  }
}

TEST(ControlSample, RefusesOtherColumns) {
  const Json line = parsed(text_of(any_sample(3), {}));
  json_t* names =
      json_object_get(json_object_get(line.get(), "columns"), "threads");
  json_array_set_new(names, 6, json_string("ran_ns"));
  const auto sample = parse_sample(line.get());
  ASSERT_FALSE(sample);
  EXPECT_NE(sample.error().what.find("columns"), std::string::npos);
}

TEST(ControlSample, IsWrittenToAUsedBufferWithoutAllocating) {
  const Sample sample = any_sample(3);
  std::string text;
  std::uint64_t before = 0;
  for (int i = 0; i < 2; ++i) {
    before = allocations();
    text.clear();
    JsonText json{text};
    json.object();
    write_sample(json, sample);
    json.end();
  }
  EXPECT_EQ(allocations(), before);
  EXPECT_TRUE(parsed(text));
}

}  // namespace
}  // namespace outrider
