// SPDX-License-Identifier: Apache-2.0
#include "agent/guest_resize.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <functional>
#include <memory>
#include <string>

#include "agent/sys/clock.h"
#include "agent/sys/event_loop.h"
#include "tests/unit/memory/scripted_qemu.h"
#include "tests/unit/qmp/scripted_peer.h"

namespace outrider {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr Bytes mib(std::int64_t count) {
  return Bytes{count * kMebibyte.count()};
}

class GuestResizeTest : public testing::Test {
 protected:
  GuestResizeTest() {
    EXPECT_NE(::mkdtemp(folder_.data()), nullptr);
    peer_.emplace(loop_, folder_ + "/qmp", qmp::Manner::kPolite);
    peer_->set_answer(
        [this](const std::string& line) { return qemu_.answer(line); });
    clients_ = qmp::Clients::make(loop_).value();
    qmp::Client::Listener listener{.on_event =
                                       [this](const qmp::Event& event) {
                                         auto known = qmp::parse_event(event);
                                         if (resize_ && known && *known)
                                           resize_->on_event(**known);
                                       },
                                   .on_state = {}};
    client_ =
        qmp::Client::make(*clients_, folder_ + "/qmp", std::move(listener))
            .value();
  }
  ~GuestResizeTest() override {
    client_.reset();
    clients_.reset();
    peer_.reset();
    std::filesystem::remove_all(folder_);
  }

  void begin(const ResizeWish& wish, Duration patience = seconds(20),
             bool dry_run = false) {
    resize_ = std::make_unique<GuestResize>(
        *client_, ResizeOptions{.wish = wish,
                                .least = mib(64),
                                .dry_run = dry_run,
                                .patience = patience});
  }
  void turn() {
    resize_->advance(monotonic_now());
    ASSERT_TRUE(loop_.turn(milliseconds(1)));
  }
  void turn_until(const std::function<bool()>& done) {
    const Instant give_up = monotonic_now() + seconds(20);
    while (!done() && monotonic_now() < give_up) turn();
    ASSERT_TRUE(done());
  }
  const ResizeProgress& end() {
    turn_until([this] { return resize_->is_over(); });
    return resize_->progress();
  }
  /// The books: what is told is what QEMU has.
  void expect_right_books() {
    const ResizeProgress& progress = resize_->progress();
    ASSERT_TRUE(progress.shape);
    EXPECT_EQ(progress.shape->memory(), mib(qemu_.memory()));
    EXPECT_EQ(progress.shape->vcpus(), qemu_.vcpus());
  }
  void say_event(const std::string& name, const std::string& data) {
    peer_->say(
        R"({"timestamp": {"seconds": 1, "microseconds": 2}, "event": ")" +
        name + R"(", "data": )" + data + "}\r\n");
  }

  std::string folder_ = "/tmp/resizeXXXXXX";
  EventLoop loop_ = EventLoop::make().value();
  ScriptedQemu qemu_;
  std::optional<qmp::ScriptedPeer> peer_;
  std::unique_ptr<qmp::Clients> clients_;
  std::unique_ptr<qmp::Client> client_;
  std::unique_ptr<GuestResize> resize_;
};

TEST_F(GuestResizeTest, GrowsStepByStepAndShrinksAgain) {
  begin({.memory = mib(1024 + 1024 + 128), .vcpus = 3});
  EXPECT_EQ(end().phase, ResizePhase::kDone) << end().why;
  EXPECT_EQ(end().took.size(), 4U);
  EXPECT_EQ(qemu_.virtio_mem, 1024);
  EXPECT_EQ(qemu_.dimms["outrider-dimm0"], 128);
  EXPECT_EQ(qemu_.vcpus(), 3);
  begin({.memory = mib(512), .vcpus = 1});
  EXPECT_EQ(end().phase, ResizePhase::kDone) << end().why;
  EXPECT_EQ(qemu_.memory(), 512);
  EXPECT_EQ(qemu_.vcpus(), 1);
  EXPECT_THAT(qemu_.dimms, IsEmpty());
  EXPECT_THAT(qemu_.objects, IsEmpty()) << "nobody uses its backend";
  expect_right_books();
}

TEST_F(GuestResizeTest, ADryRunAsksForNothing) {
  begin({.memory = mib(2048), .vcpus = 2}, seconds(20), true);
  EXPECT_EQ(end().phase, ResizePhase::kPlanned);
  EXPECT_EQ(end().steps.size(), 2U);
  EXPECT_EQ(qemu_.memory(), 1024);
  for (const auto& [command, times] : qemu_.asked) {
    EXPECT_THAT(command, testing::StartsWith("query-")) << times;
  }
}

TEST_F(GuestResizeTest, SaysWhyQemuRefuses) {
  qemu_.refused["device_add"] = "no slots left";
  begin({.memory = mib(1024 + 1024 + 128)});
  EXPECT_EQ(end().phase, ResizePhase::kFailed);
  EXPECT_THAT(end().why, HasSubstr("plug DIMM outrider-dimm0"));
  EXPECT_THAT(end().why, HasSubstr("no slots left"));
  EXPECT_EQ(end().took.size(), 1U) << "virtio-mem's step stays done";
  EXPECT_THAT(qemu_.objects, IsEmpty()) << "what was made for it is gone";
}

TEST_F(GuestResizeTest, SaysWhyTheGuestRefusesToGiveACpu) {
  qemu_.cpus[1] = "/machine/peripheral/cpu1";
  qemu_.obeys = false;
  begin({.vcpus = 1});
  turn_until([this] { return qemu_.asked["device_del"] == 1; });
  say_event("ACPI_DEVICE_OST",
            R"({"info": {"device": "cpu1", "slot": "1", "slot-type": "CPU",)"
            R"( "source": 3, "status": 129}})");
  EXPECT_EQ(end().phase, ResizePhase::kFailed);
  EXPECT_THAT(end().why, HasSubstr("in use"));
}

TEST_F(GuestResizeTest, AnotherDevicesRefusalIsNotItsOwn) {
  qemu_.cpus[1] = "/machine/peripheral/cpu1";
  qemu_.obeys = false;
  begin({.vcpus = 1});
  turn_until([this] { return qemu_.asked["device_del"] == 1; });
  say_event("ACPI_DEVICE_OST",
            R"({"info": {"device": "cpu2", "slot": "2", "slot-type": "CPU",)"
            R"( "source": 3, "status": 129}})");
  for (int i = 0; i < 20; ++i) turn();
  EXPECT_EQ(resize_->progress().phase, ResizePhase::kMoving);
  qemu_.cpus[1].clear();
  EXPECT_EQ(end().phase, ResizePhase::kDone);
}

TEST_F(GuestResizeTest, WaitsForAnUnplugThatIsUnderWayAlready) {
  qemu_.cpus[1] = "/machine/peripheral/cpu1";
  qemu_.refused["device_del"] =
      "Device cpu1 is already in the process of unplug";
  begin({.vcpus = 1});
  turn_until([this] { return qemu_.asked["device_del"] == 1; });
  for (int i = 0; i < 20; ++i) turn();
  EXPECT_EQ(resize_->progress().phase, ResizePhase::kMoving);
  qemu_.cpus[1].clear();
  EXPECT_EQ(end().phase, ResizePhase::kDone);
}

TEST_F(GuestResizeTest, APeerThatSaysNothingIsGivenUp) {
  peer_->set_manner(qmp::Manner::kHung);
  begin({.memory = mib(2048)}, milliseconds(50));
  EXPECT_EQ(end().phase, ResizePhase::kFailed);
  EXPECT_FALSE(end().shape);
}

TEST_F(GuestResizeTest, APeerThatGoesInTheMiddleIsNoSuccess) {
  qemu_.obeys = false;
  begin({.memory = mib(512)}, milliseconds(300));
  turn_until([this] { return qemu_.asked["balloon"] == 1; });
  peer_.reset();
  EXPECT_EQ(end().phase, ResizePhase::kFailed);
  expect_right_books();
}

// 500 times a guest does not move, or its QEMU refuses: each time what is told
// is what it still has, and once it obeys, it is done.
TEST_F(GuestResizeTest, TheBooksAreRightIn500Tries) {
  qemu_.cpus[1] = "/machine/peripheral/cpu1";
  const char* const commands[] = {"balloon", "qom-set", "device_del",
                                  "device_add"};
  for (int i = 0; i < 500; ++i) {
    SCOPED_TRACE(i);
    const char* const command = commands[i % 4];
    qemu_.obeys = false;
    qemu_.refused.clear();
    if (i % 8 < 6) qemu_.refused[command] = "not now";
    ResizeWish wish;
    switch (i % 4) {
      case 0:
        wish.memory = mib(512);
        break;
      case 1:
        wish.memory = mib(2048);
        break;
      case 2:
        wish.vcpus = 1;
        break;
      default:
        wish.vcpus = 3;
        break;
    }
    begin(wish, milliseconds(15));
    ASSERT_EQ(end().phase, ResizePhase::kFailed);
    ASSERT_FALSE(end().why.empty());
    ASSERT_EQ(qemu_.memory(), 1024);
    ASSERT_EQ(qemu_.vcpus(), 2);
    if (resize_->progress().shape) expect_right_books();
  }
  qemu_.obeys = true;
  qemu_.refused.clear();
  begin({.memory = mib(512), .vcpus = 1});
  EXPECT_EQ(end().phase, ResizePhase::kDone) << end().why;
  EXPECT_EQ(qemu_.memory(), 512);
  expect_right_books();
}

}  // namespace
}  // namespace outrider
