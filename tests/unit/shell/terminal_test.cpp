// SPDX-License-Identifier: Apache-2.0
#include "agent/cli/terminal.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>

#include "agent/sys/clock.h"
#include "agent/sys/fd.h"

namespace outrider {
namespace {

using std::chrono::seconds;

constexpr const char* kLeave = "\x1b[?1049l";

// A child on a terminal of its own; we hold the other end.
class OnTerminal {
 public:
  explicit OnTerminal(const std::function<void()>& act) {
    int master = -1;
    child_ = ::forkpty(&master, nullptr, nullptr, nullptr);
    if (child_ == 0) {
      act();
      ::_exit(0);
    }
    master_ = Fd{master};
  }

  std::string read_until(const std::string& word) {
    std::string text;
    while (text.find(word) == std::string::npos) {
      pollfd wait{.fd = master_.get(), .events = POLLIN, .revents = 0};
      if (::poll(&wait, 1, 5000) != 1) break;
      std::array<char, 4096> bytes{};
      const ssize_t got = ::read(master_.get(), bytes.data(), bytes.size());
      if (got <= 0) break;
      text.append(bytes.data(), static_cast<std::size_t>(got));
    }
    return text;
  }
  void type(char key) const { ASSERT_EQ(::write(master_.get(), &key, 1), 1); }
  pid_t child() const { return child_; }
  int wait_for_end() const {
    int status = 0;
    ::waitpid(child_, &status, 0);
    return status;
  }
  tcflag_t local_flags() const {
    termios settings{};
    EXPECT_EQ(::tcgetattr(master_.get(), &settings), 0);
    return settings.c_lflag;
  }

 private:
  pid_t child_ = -1;
  Fd master_;
};

// Draws, then waits for 'q'.
void show_something() {
  auto terminal = Terminal::open();
  if (!terminal) ::_exit(9);
  Terminal::draw("ready\n");
  const Instant deadline = monotonic_now() + seconds{20};
  for (;;) {
    const Terminal::Event event = Terminal::wait(deadline);
    if (event.wake != Terminal::Wake::kKey || event.key == 'q') return;
    if (event.key == 'a') std::abort();
  }
}

// The child has ended; what it left is to be seen at our end.
void expect_restored(OnTerminal& on, tcflag_t raw) {
  EXPECT_NE(on.read_until(kLeave).find(kLeave), std::string::npos);
  EXPECT_EQ(on.local_flags(), raw | ICANON | ECHO | ISIG);
}

TEST(Terminal, ComesBackAfterAKey) {
  OnTerminal on(show_something);
  on.read_until("ready");
  const tcflag_t raw = on.local_flags();
  EXPECT_EQ(raw & (ICANON | ECHO | ISIG), 0U);
  on.type(0x03);  // ^C is a key
  on.type('q');
  EXPECT_EQ(on.wait_for_end(), 0);
  expect_restored(on, raw);
}

TEST(Terminal, ComesBackAfterEverySignalThatCanBeCaught) {
  for (const int number : {SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGSEGV}) {
    SCOPED_TRACE(number);
    OnTerminal on(show_something);
    on.read_until("ready");
    const tcflag_t raw = on.local_flags();
    ASSERT_EQ(::kill(on.child(), number), 0);
    const int status = on.wait_for_end();
    expect_restored(on, raw);
    ASSERT_TRUE(WIFSIGNALED(status));
    EXPECT_EQ(WTERMSIG(status), number) << "whoever started it can tell";
  }
}

TEST(Terminal, ComesBackThoughItsParentHadTheSignalBlocked) {
  OnTerminal on([] {
    sigset_t all;
    sigfillset(&all);
    ::sigprocmask(SIG_BLOCK, &all, nullptr);
    show_something();
  });
  on.read_until("ready");
  const tcflag_t raw = on.local_flags();
  ASSERT_EQ(::kill(on.child(), SIGTERM), 0);
  EXPECT_EQ(WTERMSIG(on.wait_for_end()), SIGTERM);
  expect_restored(on, raw);
}

TEST(Terminal, ComesBackAfterAnAbort) {
  OnTerminal on(show_something);
  on.read_until("ready");
  const tcflag_t raw = on.local_flags();
  on.type('a');
  EXPECT_EQ(WTERMSIG(on.wait_for_end()), SIGABRT);
  expect_restored(on, raw);
}

}  // namespace
}  // namespace outrider
