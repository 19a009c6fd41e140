// SPDX-License-Identifier: Apache-2.0
// Asks a real QEMU all that qmp/ can ask: see qmp.sh.
#include <signal.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "agent/sys/clock.h"
#include "qmp/client.h"
#include "qmp/command_line.h"

namespace outrider::qmp {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

[[noreturn]] void give_up(const std::string& what) {
  std::fprintf(stderr, "qmp_check: %s\n", what.c_str());
  std::exit(1);
}

void require(bool holds, const std::string& what) {
  if (!holds) give_up(what);
}

std::vector<std::string> sockets_of(pid_t vm) {
  std::ifstream file("/proc/" + std::to_string(vm) + "/cmdline");
  const std::string all{std::istreambuf_iterator<char>(file), {}};
  return parse_command_line(split_command_line(all)).sockets;
}

/// One QEMU, asked one thing after another.
class Vm {
 public:
  explicit Vm(const std::string& path)
      : loop_(EventLoop::make().value()),
        clients_(Clients::make(loop_).value()),
        client_(Client::make(*clients_, path,
                             {.on_event = [this](const Event&) { ++events_; },
                              .on_state = {}})
                    .value()) {}

  template <class Condition>
  void turn_until(const Condition& done, const std::string& what) {
    const Instant give_up_at = monotonic_now() + seconds(20);
    while (!done()) {
      require(monotonic_now() < give_up_at, what + ": not in 20 s");
      require(loop_.turn(milliseconds(20)).has_value(), "turn");
    }
  }
  /// The answer, or why there is none.
  template <class T>
  Result<T> try_ask(Verb<T> verb) {
    const std::string name = verb.request.name;
    verb.request.deadline = seconds(15);
    std::optional<Result<T>> answer;
    const auto asked = client_->ask(
        verb, [&](Result<T> result) { answer = std::move(result); });
    require(asked.has_value(), name + ": not asked");
    turn_until([&] { return answer.has_value(); }, name);
    return *std::move(answer);
  }
  template <class T>
  T ask(Verb<T> verb) {
    const std::string name = verb.request.name;
    auto answer = try_ask(std::move(verb));
    if (!answer) give_up(name + ": " + answer.error().what);
    return *std::move(answer);
  }
  Client& client() { return *client_; }

 private:
  EventLoop loop_;
  std::unique_ptr<Clients> clients_;
  std::unique_ptr<Client> client_;
  int events_ = 0;
};

constexpr Bytes kSize{std::int64_t{128} << 20};

void check_queries(Vm& vm) {
  require(vm.ask(query_status()).status == "prelaunch", "query-status");
  require(vm.ask(query_cpus_fast()).size() == 1, "query-cpus-fast");
  require(vm.ask(query_memory_size_summary()).base == kSize + kSize, "memory");
  require(vm.ask(query_balloon()) == kSize + kSize, "query-balloon");
  const Schema schema = vm.ask(query_qmp_schema());
  for (const char* command :
       {"balloon", "query-memory-devices", "qom-list", "device_add",
        "device_del", "object-add", "block_set_io_throttle"})
    require(schema.has_command(command), command);
  require(schema.has_event("MEMORY_DEVICE_SIZE_CHANGE"), "schema: event");
  require(schema.has_argument("balloon", "value"), "schema: argument");
}

void check_balloon(Vm& vm) {
  const auto members = vm.ask(qom_list(kPeripheral));
  const auto paths = devices_of(kPeripheral, members, "virtio-balloon");
  require(paths.size() == 1, "balloon: one");
  require(!vm.ask(guest_stats(paths[0])).total, "guest-stats: no guest");
  (void)vm.ask(set_stats_interval(paths[0], 3));
  require(vm.ask(stats_interval(paths[0])) == 3,
          "guest-stats-polling-interval");
  (void)vm.ask(balloon(kSize));
  (void)vm.ask(qom_list(kPeripheralAnon));
}

void check_memory(Vm& vm) {
  const std::string vmem = std::string(kPeripheral) + "/vmem0";
  (void)vm.ask(set_requested_size(vmem, kSize));
  require(vm.ask(requested_size(vmem)) == kSize, "requested-size");
  const auto refused = vm.try_ask(set_requested_size(vmem, Bytes{1}));
  require(!refused && refused.error().code == EREMOTEIO, "half a block");
  (void)vm.ask(object_add_ram("mem1", kSize));
  (void)vm.ask(plug_dimm("dimm1", "mem1"));
  const auto devices = vm.ask(query_memory_devices());
  require(devices.size() == 2, "query-memory-devices");
  require(std::get<VirtioMem>(devices[0]).requested == kSize, "virtio-mem");
  require(std::get<Dimm>(devices[1]).size == kSize, "dimm");
  require(!vm.try_ask(object_del("mem1")), "object-del of one in use");
}

void check_cpus(Vm& vm) {
  const auto slots = vm.ask(query_hotpluggable_cpus());
  require(slots.size() == 4 && slots[2].qom_path.empty(), "cpu slots");
  (void)vm.ask(plug_cpu(slots[2], "cpu1"));
  require(vm.ask(query_cpus_fast()).size() == 2, "a vCPU more");
  const auto gone = vm.try_ask(device_del("none"));
  require(!gone && gone.error().what.starts_with("DeviceNotFound"), "del");
}

void check_disks(Vm& vm) {
  const auto before = vm.ask(query_block());
  require(before.size() == 1 && before[0].inserted, "query-block");
  const BlockThrottle throttle{.bytes_per_s = 1'000'000, .ops_per_s = 100};
  (void)vm.ask(block_set_io_throttle(before[0].qdev, throttle));
  require(vm.ask(query_block())[0].throttle == throttle, "throttle");
}

void check_answers(pid_t pid) {
  const auto paths = sockets_of(pid);
  require(paths.size() == 3, "three sockets on the command line");
  Vm vm{paths[0]};
  check_queries(vm);
  check_balloon(vm);
  check_memory(vm);
  check_cpus(vm);
  check_disks(vm);
  require(vm.client().peer_pid().value_or(0) == pid, "peer_pid");
  require(vm.client().session().counts().lies == 0, "lies");
  for (const std::string& path : {paths[1], paths[2]}) {
    Vm other{path};  // the second and the pretty one
    require(other.ask(query_balloon()) > Bytes{}, path);
  }
}

/// Continues `vm` however the check ends.
class Stopped {
 public:
  explicit Stopped(pid_t vm) : vm_(vm) { ::kill(vm_, SIGSTOP); }
  Stopped(const Stopped&) = delete;
  Stopped& operator=(const Stopped&) = delete;
  ~Stopped() { ::kill(vm_, SIGCONT); }

 private:
  pid_t vm_;
};

void check_hang(pid_t pid) {
  Vm vm{sockets_of(pid).at(1)};
  (void)vm.ask(query_status());
  const auto is = [&](State state) {
    return [&vm, state] { return vm.client().state() == state; };
  };
  int timed_out = 0;
  {
    const Stopped stopped{pid};
    const Instant asked_at = monotonic_now();
    for (int i = 0; i < 3; ++i) {
      const auto asked =
          vm.client().ask(query_status(), [&](Result<Status> status) {
            if (!status && status.error().code == ETIMEDOUT) ++timed_out;
          });
      require(asked.has_value(), "asked while it is stopped");
    }
    vm.turn_until(is(State::kOpen), "the breaker opens");
    const Duration took = monotonic_now() - asked_at;
    std::printf("qmp_check: open %.0f ms after asking\n",
                std::chrono::duration<double, std::milli>(took).count());
    // The deadline is 1 s; the rest is this process's wait for a processor.
    require(took < milliseconds(1500), "the breaker opens within 1 s");
    require(timed_out == 3, "each request times out");
  }
  vm.turn_until(is(State::kReady), "it comes back");
  require(vm.ask(query_status()).status == "prelaunch", "and answers");
}

}  // namespace
}  // namespace outrider::qmp

int main(int count, char** words) {
  if (count != 3) return 2;
  const auto vm = static_cast<pid_t>(std::atoi(words[1]));
  if (std::string(words[2]) == "answers") outrider::qmp::check_answers(vm);
  if (std::string(words[2]) == "hang") outrider::qmp::check_hang(vm);
  return 0;
}
