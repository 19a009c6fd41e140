// SPDX-License-Identifier: Apache-2.0
#include "agent/cli/terminal.h"

#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cassert>
#include <cerrno>
#include <string>
#include <utility>

#include "agent/sys/clock.h"

namespace outrider {
namespace {

// Alternate screen, no cursor, long lines cut off instead of wrapped.
constexpr std::string_view kEnter = "\x1b[?1049h\x1b[?25l\x1b[?7l";
constexpr std::string_view kLeave = "\x1b[?7h\x1b[?25h\x1b[?1049l";
constexpr std::array kEndings = {SIGINT,  SIGTERM, SIGHUP, SIGQUIT, SIGPIPE,
                                 SIGABRT, SIGSEGV, SIGBUS, SIGFPE,  SIGILL};

// For the signal handler, which has no other way to know.
termios the_settings_before;
volatile sig_atomic_t the_terminal_is_ours = 0;

void write_all(std::string_view text) {
  while (!text.empty()) {
    const ssize_t sent = ::write(STDOUT_FILENO, text.data(), text.size());
    if (sent < 0 && errno == EINTR) continue;
    if (sent <= 0) return;  // nobody looks any more
    text.remove_prefix(static_cast<std::size_t>(sent));
  }
}

// Only what signal-safety(7) allows.
void put_back() {
  if (the_terminal_is_ours == 0) return;
  the_terminal_is_ours = 0;
  write_all(kLeave);
  ::tcsetattr(STDIN_FILENO, TCSANOW, &the_settings_before);
}

extern "C" void end_by_signal(int signal_number) {
  put_back();
  // SA_RESETHAND has put the default back: this ends the process once the
  // handler returns.
  ::raise(signal_number);
}

void catch_endings() {
  struct sigaction action {};
  action.sa_handler = end_by_signal;
  action.sa_flags = SA_RESETHAND;
  sigfillset(&action.sa_mask);
  sigset_t endings;
  sigemptyset(&endings);
  for (const int signal_number : kEndings) {
    ::sigaction(signal_number, &action, nullptr);
    sigaddset(&endings, signal_number);
  }
  // Whoever started us may have had them blocked.
  ::sigprocmask(SIG_UNBLOCK, &endings, nullptr);
}

std::size_t rows() {
  winsize size{};
  if (::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_row == 0)
    return 24;
  return size.ws_row;
}

}  // namespace

bool Terminal::is_there() {
  return ::isatty(STDIN_FILENO) == 1 && ::isatty(STDOUT_FILENO) == 1;
}

Result<Terminal> Terminal::open() {
  assert(the_terminal_is_ours == 0);
  if (::tcgetattr(STDIN_FILENO, &the_settings_before) != 0)
    return fail(errno, "tcgetattr");
  termios raw = the_settings_before;
  // Without ISIG ^C and ^Z come as keys.
  raw.c_lflag &= ~static_cast<tcflag_t>(ICANON | ECHO | ISIG);
  raw.c_cc[VMIN] = 0;
  raw.c_cc[VTIME] = 0;
  catch_endings();
  the_terminal_is_ours = 1;
  if (::tcsetattr(STDIN_FILENO, TCSANOW, &raw) != 0) {
    the_terminal_is_ours = 0;
    return fail(errno, "tcsetattr");
  }
  write_all(kEnter);
  return Terminal{};
}

Terminal::Terminal(Terminal&& other) noexcept
    : mine_(std::exchange(other.mine_, false)) {}

Terminal::~Terminal() {
  if (mine_) put_back();
}

Terminal::Event Terminal::wait(Instant deadline) {
  for (;;) {
    const Duration left =
        std::max(deadline - monotonic_now(), Duration::zero());
    const auto left_ms =
        std::chrono::ceil<std::chrono::milliseconds>(left).count();
    pollfd input{.fd = STDIN_FILENO, .events = POLLIN, .revents = 0};
    const int ready = ::poll(&input, 1, static_cast<int>(left_ms));
    if (ready == 0) return {};
    if (ready < 0 && errno == EINTR) continue;  // the window's size, say
    char key = 0;
    if (ready > 0 && ::read(STDIN_FILENO, &key, 1) == 1)
      return {Wake::kKey, key};
    return {Wake::kGone, 0};
  }
}

void Terminal::draw(std::string_view text) {
  std::string screen = "\x1b[H";
  for (std::size_t row = rows(); row > 0 && !text.empty(); --row) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    screen.append(text.substr(0, end)).append("\x1b[K");
    text.remove_prefix(std::min(end + 1, text.size()));
    if (row > 1 && !text.empty()) screen += "\r\n";
  }
  screen += "\x1b[J";
  write_all(screen);
}

}  // namespace outrider
