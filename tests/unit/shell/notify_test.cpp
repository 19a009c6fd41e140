// SPDX-License-Identifier: Apache-2.0
#include "agent/notify.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdlib>
#include <string>

#include "agent/sys/fd.h"

namespace outrider {
namespace {

/// The end that systemd listens at: an abstract name, "@" in the environment.
class Notify : public testing::Test {
 protected:
  Notify() : systemd_(::socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0)) {
    const std::string name = "outrider-notify-" + std::to_string(::getpid());
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    name.copy(address.sun_path + 1, name.size());
    const auto bytes = offsetof(sockaddr_un, sun_path) + 1 + name.size();
    EXPECT_EQ(::bind(systemd_.get(), reinterpret_cast<sockaddr*>(&address),
                     static_cast<socklen_t>(bytes)),
              0);
    ::setenv("NOTIFY_SOCKET", ("@" + name).c_str(), 1);
  }
  ~Notify() override {
    for (const char* name : {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"})
      ::unsetenv(name);
  }
  std::string heard() {
    char text[256];
    const ssize_t got = ::recv(systemd_.get(), text, sizeof(text), 0);
    return {text, static_cast<std::size_t>(got > 0 ? got : 0)};
  }

 private:
  Fd systemd_;
};

TEST_F(Notify, TellsSystemd) {
  notify_ready();
  EXPECT_EQ(heard(), "READY=1");
  notify_alive();
  EXPECT_EQ(heard(), "WATCHDOG=1");
  notify_alive();  // the environment is kept
  EXPECT_EQ(heard(), "WATCHDOG=1");
  notify_stopping();
  EXPECT_EQ(heard(), "STOPPING=1");
}

TEST_F(Notify, KnowsTheWatchdogsPeriod) {
  EXPECT_FALSE(watchdog_period().has_value());
  ::setenv("WATCHDOG_USEC", "5000000", 1);
  EXPECT_EQ(watchdog_period(), std::chrono::seconds{5});
  ::setenv("WATCHDOG_PID", "1", 1);  // meant for another process
  EXPECT_FALSE(watchdog_period().has_value());
}

TEST_F(Notify, IsQuietWithoutSystemd) {
  ::unsetenv("NOTIFY_SOCKET");
  notify_ready();
  EXPECT_EQ(heard(), "");
}

}  // namespace
}  // namespace outrider
