// SPDX-License-Identifier: Apache-2.0
#include "agent/resize_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "agent/core/memory_policy.h"

namespace outrider {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr Bytes mib(std::int64_t count) {
  return Bytes{count * kMebibyte.count()};
}
constexpr Bytes kNoLeast{};

qmp::VirtioMem virtio_mem(std::int64_t size_mib, std::int64_t max_mib = 1024) {
  return {.id = "vmem0",
          .size = mib(size_mib),
          .requested = mib(size_mib),
          .max = mib(max_mib),
          .block = mib(2),
          .memdev = "/objects/vmm0"};
}

qmp::Dimm dimm(const std::string& id, std::int64_t size_mib,
               bool hotplugged = true) {
  return {.id = id,
          .size = mib(size_mib),
          .slot = 0,
          .memdev = "/objects/" + id + "-memory",
          .hotplugged = hotplugged,
          .hotpluggable = true};
}

// As QEMU lists them: the last slot first.
std::vector<qmp::CpuSlot> slots(int taken, int all) {
  std::vector<qmp::CpuSlot> list;
  for (int i = all - 1; i >= 0; --i) {
    list.push_back({.type = "host-x86_64-cpu",
                    .vcpus = 1,
                    .qom_path = i < taken ? "/cpu" + std::to_string(i) : "",
                    .place = {{"core-id", i}}});
  }
  return list;
}

GuestShape shape(std::int64_t left_mib = 1024) {
  GuestShape its;
  its.base = mib(1024);
  its.balloon = mib(left_mib);
  its.slots = slots(1, 4);
  return its;
}

// "virtio-mem vmem0 0-512", "plug vCPU outrider-cpu1"
std::vector<std::string> texts(const std::vector<ResizeStep>& steps) {
  std::vector<std::string> all;
  for (const ResizeStep& step : steps) {
    std::string text = std::string(to_text(step.kind)) + ' ' + step.device;
    if (step.from != step.to) {
      text += ' ' + std::to_string(step.from.count() / kMebibyte.count()) +
              '-' + std::to_string(step.to.count() / kMebibyte.count());
    }
    all.push_back(text);
  }
  return all;
}

std::vector<std::string> plan(const GuestShape& its, const ResizeWish& wish) {
  auto steps = plan_resize(its, wish, kNoLeast);
  EXPECT_TRUE(steps) << steps.error().what;
  return steps ? texts(*steps) : std::vector<std::string>{};
}

std::string refusal(const GuestShape& its, const ResizeWish& wish,
                    Bytes least = kNoLeast) {
  auto steps = plan_resize(its, wish, least);
  return steps ? "" : steps.error().what;
}

TEST(ResizePlan, DoesNothingForWhoHasIt) {
  EXPECT_THAT(plan(shape(), {.memory = mib(1024), .vcpus = 1}), IsEmpty());
}

TEST(ResizePlan, GrowsByVirtioMemInItsBlocks) {
  GuestShape its = shape();
  its.devices = {virtio_mem(0)};
  EXPECT_THAT(plan(its, {.memory = mib(1024 + 511)}),
              ElementsAre("virtio-mem vmem0 0-512"));
}

TEST(ResizePlan, GivesTheBalloonsMemoryBackBeforeItPlugsAny) {
  GuestShape its = shape(512);
  its.devices = {virtio_mem(0)};
  EXPECT_THAT(
      plan(its, {.memory = mib(1536)}),
      ElementsAre("balloon balloon 512-1024", "virtio-mem vmem0 0-512"));
}

TEST(ResizePlan, PlugsADimmForWhatVirtioMemHasNot) {
  GuestShape its = shape();
  its.devices = {virtio_mem(0, 512)};
  EXPECT_THAT(
      plan(its, {.memory = mib(1024 + 512 + 100)}),
      ElementsAre("virtio-mem vmem0 0-512", "plug DIMM outrider-dimm0 0-128"));
}

TEST(ResizePlan, ADimmGetsANameThatNoneHas) {
  GuestShape its = shape();
  its.balloon.reset();
  its.devices = {dimm("outrider-dimm0", 128)};
  EXPECT_THAT(plan(its, {.memory = mib(1024 + 256)}),
              ElementsAre("plug DIMM outrider-dimm1 0-128"));
}

TEST(ResizePlan, ShrinksVirtioMemThenDimmsThenByTheBalloon) {
  GuestShape its = shape(1024 + 384);
  its.devices = {virtio_mem(512), dimm("a", 128), dimm("b", 256)};
  EXPECT_THAT(plan(its, {.memory = mib(1000)}),
              ElementsAre("virtio-mem vmem0 512-0", "unplug DIMM b 256-0",
                          "unplug DIMM a 128-0", "balloon balloon 1408-1000"));
}

TEST(ResizePlan, ADimmThatIsTooLargeStays) {
  GuestShape its = shape(1024 + 256);
  its.devices = {dimm("a", 256)};
  EXPECT_THAT(plan(its, {.memory = mib(1200)}),
              ElementsAre("balloon balloon 1280-1200"));
}

TEST(ResizePlan, ADimmOfTheStartStays) {
  GuestShape its = shape(1024 + 256);
  its.devices = {dimm("a", 256, false)};
  EXPECT_THAT(plan(its, {.memory = mib(1024)}),
              ElementsAre("balloon balloon 1280-1024"));
}

// What a DIMM takes along goes from what the balloon leaves: a guest whose
// balloon was full would have nothing at all.
TEST(ResizePlan, ABalloonIsDeflatedBeforeADimmGoes) {
  GuestShape its = shape(700);
  its.devices = {dimm("a", 512)};
  EXPECT_THAT(plan(its, {.memory = mib(900)}),
              ElementsAre("balloon balloon 700-1412", "unplug DIMM a 512-0"));
}

TEST(ResizePlan, PlugsTheFirstFreeSlotsAndUnplugsTheLast) {
  GuestShape its = shape();
  EXPECT_THAT(plan(its, {.vcpus = 3}), ElementsAre("plug vCPU outrider-cpu1",
                                                   "plug vCPU outrider-cpu2"));
  its.slots = slots(4, 4);
  EXPECT_THAT(plan(its, {.vcpus = 2}),
              ElementsAre("unplug vCPU /cpu3", "unplug vCPU /cpu2"));
  EXPECT_THAT(plan(its, {.vcpus = 1}),
              ElementsAre("unplug vCPU /cpu3", "unplug vCPU /cpu2",
                          "unplug vCPU /cpu1"));
}

TEST(ResizePlan, MemoryComesBeforeVcpusAndGoesAfterThem) {
  GuestShape its = shape();
  its.devices = {virtio_mem(0)};
  its.slots = slots(2, 4);
  EXPECT_THAT(plan(its, {.memory = mib(1026), .vcpus = 3}),
              ElementsAre("virtio-mem vmem0 0-2", "plug vCPU outrider-cpu2"));
  EXPECT_THAT(plan(its, {.memory = mib(512), .vcpus = 1}),
              ElementsAre("unplug vCPU /cpu1", "balloon balloon 1024-512"));
}

TEST(ResizePlan, SaysWhatCannotBeHad) {
  GuestShape its = shape();
  EXPECT_THAT(refusal(its, {.vcpus = 5}), HasSubstr("1 to 4"));
  EXPECT_THAT(refusal(its, {.memory = mib(100)}, mib(256)),
              HasSubstr("under its floor of 256 MiB"));
  its.balloon.reset();
  EXPECT_THAT(refusal(its, {.memory = mib(512)}), HasSubstr("no balloon"));
  its.slots.clear();
  EXPECT_THAT(refusal(its, {.vcpus = 2}), HasSubstr("no slots"));
}

TEST(ResizePlan, OneWithoutANameIsLeftAlone) {
  GuestShape its = shape();
  qmp::VirtioMem nameless = virtio_mem(64);
  nameless.id.clear();
  its.devices = {nameless};
  EXPECT_THAT(plan(its, {.memory = mib(1024 + 64 + 128)}),
              ElementsAre("plug DIMM outrider-dimm0 0-128"));
}

// Whatever a guest has and is to have: what its plan ends with is what was
// wanted, as far as blocks allow.
TEST(ResizePlan, LeadsToWhatWasWanted) {
  for (const std::int64_t plugged : {0, 2, 512, 1024}) {
    for (const std::int64_t left : {300, 1024, 1280}) {
      for (const std::int64_t wanted : {128, 1000, 1024, 1281, 2048, 4000}) {
        GuestShape its = shape(left);
        its.devices = {virtio_mem(plugged), dimm("a", 256)};
        const auto steps = plan_resize(its, {.memory = mib(wanted)}, kNoLeast);
        ASSERT_TRUE(steps);
        Bytes fixed = mib(1024 + 256);
        Bytes balloon = *its.balloon;
        Bytes virtio = mib(plugged);
        for (const ResizeStep& step : *steps) {
          const Bytes change = step.to - step.from;
          if (step.kind == ResizeStep::Kind::kVirtioMem) virtio = step.to;
          if (step.kind == ResizeStep::Kind::kBalloon) balloon = step.to;
          if (step.kind == ResizeStep::Kind::kPlugDimm ||
              step.kind == ResizeStep::Kind::kUnplugDimm) {
            balloon += change;
            fixed += change;
          }
          EXPECT_LE(balloon, fixed);
          EXPECT_GE(balloon, mib(std::min(wanted, left))) << "on the way";
        }
        const Bytes end = balloon + virtio;
        EXPECT_GE(end, mib(wanted));
        EXPECT_LT(end, mib(wanted + 128));
      }
    }
  }
}

}  // namespace
}  // namespace outrider
