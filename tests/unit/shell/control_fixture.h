// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <gtest/gtest.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <atomic>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "agent/control.h"
#include "agent/control_client.h"
#include "agent/sys/clock.h"

namespace outrider {

inline ControlAnswer no_vm() {
  return tl::unexpected<ControlRefusal>(
      ControlRefusal{ControlCode::kError, "no such VM"});
}

// Verbs of every kind that a server must cope with.
inline std::vector<ControlVerb> fake_verbs() {
  using Kind = ControlArg::Kind;
  const auto nothing = [](const ControlCall&, JsonText&) {
    return ControlAnswer{};
  };
  const auto big = [](const ControlCall& call, JsonText& reply) {
    const auto bytes = call.request.count("bytes").value_or(0);
    reply.member("big", std::string(static_cast<std::size_t>(bytes), 'x'));
    return ControlAnswer{};
  };
  const std::vector<ControlArg> size = {{.name = "bytes",
                                         .kind = Kind::kCount,
                                         .required = true,
                                         .max = 100'000'000}};
  const ControlArg period{
      .name = "period_ms", .kind = Kind::kCount, .min = 1, .max = 60'000};
  const ControlArg count{
      .name = "count", .kind = Kind::kCount, .min = 1, .max = 1000};
  return {
      {"ping", Role::kViewer, {}, nothing},
      {"fail",
       Role::kViewer,
       {},
       [](const ControlCall&, JsonText& reply) {
         reply.member("half", "done").key("open").array();
         return no_vm();
       }},
      {"change", Role::kOperator, {}, nothing},
      {"attach", Role::kAdmin, {}, nothing},
      {"big", Role::kViewer, size, big},
      {"count",
       Role::kViewer,
       {period, count},
       [](const ControlCall& call, JsonText& reply) {
         reply.member("n", ++call.memory);
         return call.memory > 50 ? no_vm() : ControlAnswer{};
       },
       true},
      {"flood", Role::kViewer, {size[0], period, count}, big, true},
  };
}

/// A server with fake verbs on a loop that the test turns.
class Control : public testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/outrider-control-XXXXXX";
    ASSERT_NE(::mkdtemp(name), nullptr);
    ASSERT_EQ(::chmod(name, 0755), 0);
    dir_ = name;
    config_.socket = dir_ + "/run/control.sock";
    config_.mode = 0666;
    config_.group = "root";
    auto loop = EventLoop::make();
    ASSERT_TRUE(loop);
    loop_ = *std::move(loop);
  }
  void TearDown() override {
    server_.reset();
    std::filesystem::remove_all(dir_);
  }

  void start(const ControlLimits& limits = {}) {
    auto server = ControlServer::make(loop_, config_, fake_verbs(), limits);
    ASSERT_TRUE(server) << server.error().what;
    server_ = *std::move(server);
  }

  ControlClient connect() {
    auto client = ControlClient::connect(config_.socket);
    EXPECT_TRUE(client) << client.error().what;
    return *std::move(client);
  }

  void turn(Duration timeout = Duration::zero()) {
    ASSERT_TRUE(loop_.turn(timeout));
  }

  // Turns the loop until the client can read, at most two seconds.
  bool turn_until_readable(int fd) {
    const Instant deadline = monotonic_now() + std::chrono::seconds{2};
    while (monotonic_now() < deadline) {
      if (!loop_.turn(std::chrono::milliseconds{1})) return false;
      pollfd wait{.fd = fd, .events = POLLIN, .revents = 0};
      if (::poll(&wait, 1, 0) == 1) return true;
    }
    return false;
  }

  std::string receive(ControlClient& client) {
    if (!turn_until_readable(client.fd())) return "nothing came";
    auto reply = client.receive(std::chrono::milliseconds{100});
    return reply ? reply->text : reply.error().what;
  }

  // For what does not fit into the socket's buffer: the loop turns meanwhile.
  std::string receive_long(ControlClient& client) {
    std::atomic<bool> done{false};
    std::thread serving([this, &done] {
      while (!done)
        if (!loop_.turn(std::chrono::milliseconds{1})) break;
    });
    auto reply = client.receive(std::chrono::seconds{5});
    done = true;
    serving.join();
    return reply ? reply->text : reply.error().what;
  }

  std::string ask(ControlClient& client, std::string_view line) {
    EXPECT_TRUE(client.send(line));
    return receive(client);
  }

  bool is_serving() {
    ControlClient client = connect();
    return ask(client, R"({"verb":"ping"})") == kPong;
  }

  static constexpr const char* kPong = R"({"ok":true,"schema":1})";
  static constexpr const char* kClosed = "outriderd has closed the connection";

  std::string dir_;
  ControlConfig config_;
  EventLoop loop_;
  std::unique_ptr<ControlServer> server_;
};

}  // namespace outrider
