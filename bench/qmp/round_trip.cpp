// SPDX-License-Identifier: Apache-2.0
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <filesystem>
#include <string>

#include "agent/sys/clock.h"
#include "agent/sys/fd.h"
#include "bench/qmp/measures.h"
#include "bench/qmp/peers.h"

namespace outrider::bench {
namespace {

constexpr int kRounds = 200;  // a block

/// A QEMU without a guest, with two monitors. Invariant: as long as this.
class Qemu {
 public:
  Qemu() {
    if (::mkdtemp(folder_.data()) == nullptr) give_up("mkdtemp");
    std::string first = "unix:" + path("a") + ",server=on,wait=off";
    std::string second = "unix:" + path("b") + ",server=on,wait=off";
    std::array<const char*, 16> words{
        "qemu-system-x86_64", "-accel", "tcg",          "-S",   "-nodefaults",
        "-display",           "none",   "-machine",     "q35",  "-qmp",
        first.c_str(),        "-qmp",   second.c_str(), nullptr};
    if (::posix_spawnp(&pid_, words[0], nullptr, nullptr,
                       const_cast<char* const*>(words.data()), environ) != 0)
      pid_ = 0;
    for (int i = 0; pid_ != 0 && i < 2000; ++i) {
      if (std::filesystem::exists(path("b"))) break;
      ::usleep(5000);
    }
  }
  Qemu(const Qemu&) = delete;
  Qemu& operator=(const Qemu&) = delete;
  ~Qemu() {
    if (pid_ != 0) ::kill(pid_, SIGKILL);
    if (pid_ != 0) ::waitpid(pid_, nullptr, 0);
    std::filesystem::remove_all(folder_);
  }
  bool is_there() const { return pid_ != 0; }
  std::string path(const char* name) const { return folder_ + "/" + name; }

 private:
  std::string folder_ = "/tmp/qmp-qemuXXXXXX";
  pid_t pid_ = 0;
};

/// As bare as can be: sends, and waits for a line. It negotiates and numbers
/// as the library does, since that costs QEMU some time, too.
class BareClient {
 public:
  explicit BareClient(const std::string& path)
      : fd_(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, path.c_str(), sizeof(address.sun_path) - 1);
    const auto* const raw = reinterpret_cast<const sockaddr*>(&address);
    if (::connect(fd_.get(), raw, sizeof(address)) != 0) give_up("connect");
    receive();
    ask(R"({"execute":"qmp_capabilities","arguments":{"enable":["oob"]}})"
        "\n");
  }
  void ask(std::string_view command) {
    if (::send(fd_.get(), command.data(), command.size(), 0) < 0)
      give_up("send");
    receive();
  }

 private:
  void receive() {
    std::array<char, 4096> bytes;
    ssize_t got = 0;
    do {
      got = ::recv(fd_.get(), bytes.data(), bytes.size(), 0);
      if (got <= 0) give_up("QEMU has closed");
    } while (bytes[static_cast<std::size_t>(got) - 1] != '\n');
  }
  Fd fd_;
};

template <class Ask>
double median_us(const Ask& ask) {
  std::vector<double> all;
  for (int i = 0; i < kRounds; ++i) {
    const Instant start = monotonic_now();
    ask();
    all.push_back(
        std::chrono::duration<double, std::micro>(monotonic_now() - start)
            .count());
  }
  return median(all);
}

}  // namespace

std::vector<Figure> measure_round_trip(int quads) {
  const Qemu qemu;
  if (!qemu.is_there()) return {};
  EventLoop loop = EventLoop::make().value();
  const auto clients = qmp::Clients::make(loop).value();
  const auto client = qmp::Client::make(*clients, qemu.path("a"), {}).value();
  const auto by_library = [&] {
    bool answered = false;
    const auto asked =
        client->ask(qmp::query_status(), [&](Result<qmp::Status> status) {
          if (!status || status->status != "prelaunch") give_up("wrong status");
          answered = true;
        });
    if (!asked) give_up(asked.error().what);
    while (!answered) (void)loop.turn(Duration{-1});
  };
  by_library();
  BareClient bare{qemu.path("b")};
  const auto by_hand = [&] {
    bare.ask("{\"execute\":\"query-status\",\"id\":7}\n");
  };
  std::vector<double> ratios, library, hand;
  for (int quad = 0; quad < quads; ++quad) {
    const double first = median_us(by_hand);
    const double ours = (median_us(by_library) + median_us(by_library)) / 2;
    const double second = median_us(by_hand);
    hand.push_back((first + second) / 2);
    library.push_back(ours);
    ratios.push_back(ours / hand.back());
  }
  Figure ratio = figure_of("round_trip", "x", ratios, 1.2);
  ratio.yardstick = "a bare client's: blocking, reads no JSON";
  Figure ours = figure_of("round_trip.library", "us", library, 0);
  ours.yardstick = "query-status, a real QEMU";
  Figure theirs = figure_of("round_trip.bare", "us", hand, 0);
  theirs.yardstick = "the same";
  return {ratio, ours, theirs};
}

}  // namespace outrider::bench
