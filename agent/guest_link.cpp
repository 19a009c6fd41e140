// SPDX-License-Identifier: Apache-2.0
#include "agent/guest_link.h"

#include <algorithm>
#include <cerrno>
#include <utility>

#include "agent/sys/clock.h"
#include "qmp/command_line.h"
#include "qmp/events.h"
#include "qmp/verbs.h"

namespace outrider {
namespace {

// Plugging memory is rare, and the balloon tells of itself.
constexpr Duration kSizePeriod = std::chrono::seconds{5};
constexpr Duration kPeriod = std::chrono::seconds{1};
// Of a guest that memory was taken from: QEMU has news of it once a second, and
// they are not to lie there for as long again.
constexpr Duration kWatchfulPeriod = std::chrono::milliseconds{200};
// On a host without a CPU to spare a QEMU that is well answers late; nothing of
// this is in a hurry.
constexpr Duration kPatience = std::chrono::seconds{3};
constexpr std::int64_t kStatsInterval = 1;  // seconds: QEMU knows no less
constexpr std::int64_t kSecond = 1'000'000'000;

Fixed fixed_by(const qmp::MemoryBacking& memory) {
  if (memory.passthrough) return Fixed::kDevice;
  if (memory.locked || memory.encrypted) return Fixed::kLocked;
  if (memory.huge_pages) return Fixed::kHugePages;
  return Fixed::kNo;
}

std::string absolute(const std::string& path, pid_t pid) {
  if (path.starts_with('/')) return path;
  return "/proc/" + std::to_string(pid) + "/cwd/" + path;
}

// A monitor serves one client. What is named after us is ours; else the last:
// what came first is most likely somebody's already.
const std::string& choose_socket(const std::vector<std::string>& sockets) {
  const auto named = std::ranges::find_if(sockets, [](const std::string& path) {
    return path.find("outrider") != std::string::npos;
  });
  return named != sockets.end() ? *named : sockets.back();
}

}  // namespace

Result<std::unique_ptr<GuestLink>> GuestLink::make(qmp::Clients& clients,
                                                   const ProcRoot& proc,
                                                   const Vm& vm) {
  auto words = read_cmdline(proc, vm.identity.pid);
  if (!words) return pass(words, "qmp");
  const qmp::CommandLine line = qmp::parse_command_line(*words);
  if (line.sockets.empty()) {
    return fail(ENOENT,
                "qmp: no monitor of its own: start it with -qmp "
                "unix:PATH,server=on,wait=off");
  }
  auto link = std::unique_ptr<GuestLink>(new GuestLink);
  GuestLink* its = link.get();
  link->facts_.fixed = fixed_by(line.memory);
  auto client = qmp::Client::make(
      clients, absolute(choose_socket(line.sockets), vm.identity.pid),
      {.on_event = [its](const qmp::Event& event) { its->on_event(event); },
       .on_state = [its](qmp::State before,
                         qmp::State after) { its->on_state(before, after); }},
      {.request = kPatience, .greeting = kPatience});
  if (!client) return pass(client, "qmp");
  link->client_ = std::move(*client);
  return link;
}

void GuestLink::complain(const Error& error) { complaint_ = error.what; }

void GuestLink::on_state(qmp::State, qmp::State after) {
  if (after != qmp::State::kReady) {
    complaint_ = std::string("qmp is ") + std::string(name_of(after));
    return;
  }
  complaint_.clear();
  // What was asked over an earlier connection has ended with it.
  size_due_ = second_due_ = guest_due_ = {};
  if (!balloon_path_.empty()) return;
  find_balloon(qmp::kPeripheral);
  find_balloon(qmp::kPeripheralAnon);
}

void GuestLink::find_balloon(const char* folder) {
  auto asked = client_->ask(
      qmp::qom_list(folder),
      [this, folder](Result<std::vector<qmp::QomMember>> members) {
        if (!members) return complain(members.error());
        const auto paths = qmp::devices_of(folder, *members, "virtio-balloon");
        if (paths.empty()) return;
        balloon_path_ = paths.front();
        take_over_statistics();
      });
  if (!asked) complain(asked.error());
}

void GuestLink::take_over_statistics() {
  auto asked = client_->ask(
      qmp::stats_interval(balloon_path_), [this](Result<std::int64_t> before) {
        if (!before) return complain(before.error());
        facts_.stats_interval_s = *before;
        if (*before > 0 || !wants_statistics_) return;
        auto set =
            client_->ask(qmp::set_stats_interval(balloon_path_, kStatsInterval),
                         [this](Result<qmp::Done> done) {
                           if (!done) return complain(done.error());
                           interval_before_ = 0;
                           facts_.stats_interval_s = kStatsInterval;
                         });
        if (!set) complain(set.error());
      });
  if (!asked) complain(asked.error());
}

void GuestLink::restore_statistics() {
  wants_statistics_ = false;
  if (!interval_before_) return;
  (void)client_->ask(
      qmp::set_stats_interval(balloon_path_, *interval_before_),
      [](Result<qmp::Done>) {});  // a guest that is asked in vain is no harm
  facts_.stats_interval_s = *interval_before_;
  interval_before_.reset();
}

void GuestLink::on_event(const qmp::Event& event) {
  auto known = qmp::parse_event(event);
  if (!known || !*known) return;
  if (const auto* change = std::get_if<qmp::BalloonChange>(&**known)) {
    facts_.balloon = change->actual;
  }
  if (std::holds_alternative<qmp::MemoryDeviceSizeChange>(**known)) {
    size_due_ = {};
  }
  if (told_) told_(**known);
}

void GuestLink::refresh(Instant now, Pace pace) {
  if (client_->state() != qmp::State::kReady) return;
  if (now >= size_due_) {
    size_due_ = now + kSizePeriod;
    ask_size();
    if (wants_statistics_ && facts_.stats_interval_s == 0 &&
        !balloon_path_.empty()) {
      take_over_statistics();
    }
  }
  const bool is_due = now >= second_due_;
  if (balloon_path_.empty()) return;
  if (is_due || pace == Pace::kClose) ask_balloon();
  if (is_due) second_due_ = now + kPeriod;
  if (facts_.stats_interval_s == 0 || now < guest_due_) return;
  guest_due_ = now + (pace == Pace::kEasy ? kPeriod : kWatchfulPeriod);
  ask_guest();
}

void GuestLink::ask_size() {
  if (is_asking_size_) return;
  auto asked = client_->ask(qmp::query_memory_size_summary(),
                            [this](Result<qmp::MemorySize> size) {
                              is_asking_size_ = false;
                              if (!size) return complain(size.error());
                              ask_devices(size->base + size->plugged);
                            });
  is_asking_size_ = asked.has_value();
}

// Both or none: one without the other would look like a balloon that moves.
void GuestLink::ask_devices(Bytes size) {
  auto asked = client_->ask(
      qmp::query_memory_devices(),
      [this, size](Result<std::vector<qmp::MemoryDevice>> devices) {
        is_asking_size_ = false;
        if (!devices) return complain(devices.error());
        facts_.size = size;
        virtio_mem_ = {};
        for (const qmp::MemoryDevice& device : *devices) {
          const auto* its = std::get_if<qmp::VirtioMem>(&device);
          if (its != nullptr) virtio_mem_ += its->size;
        }
      });
  is_asking_size_ = asked.has_value();
}

void GuestLink::ask_balloon() {
  if (is_asking_balloon_) return;
  auto asked =
      client_->ask(qmp::query_balloon(), [this](Result<Bytes> balloon) {
        is_asking_balloon_ = false;
        // A guest without the driver has a device that is not active.
        if (!balloon) return complain(balloon.error());
        facts_.balloon = *balloon;
        complaint_.clear();
      });
  is_asking_balloon_ = asked.has_value();
}

void GuestLink::ask_guest() {
  if (is_asking_guest_) return;
  auto asked = client_->ask(qmp::guest_stats(balloon_path_),
                            [this](Result<qmp::BalloonStats> stats) {
                              is_asking_guest_ = false;
                              if (!stats) return complain(stats.error());
                              note_guest(*stats);
                            });
  is_asking_guest_ = asked.has_value();
}

void GuestLink::note_guest(const qmp::BalloonStats& stats) {
  if (stats.updated_s == 0 || !stats.total || !stats.available) return;
  updated_s_ = stats.updated_s;
  facts_.guest = GuestMemory{
      .total = *stats.total,
      .available = *stats.available,
      .major_faults =
          static_cast<std::uint64_t>(stats.major_faults.value_or(0)),
      .swapped_in = stats.swapped_in.value_or(Bytes{}),
      .swapped_out = stats.swapped_out.value_or(Bytes{})};
}

Result<> GuestLink::set_balloon(Bytes target,
                                std::function<void(Result<>)> done) {
  if (client_->state() != qmp::State::kReady) {
    return fail(ENOTCONN, "qmp is " + std::string(name_of(client_->state())));
  }
  auto asked = client_->ask(qmp::balloon(target - virtio_mem_),
                            [done = std::move(done)](Result<qmp::Done> ended) {
                              if (!ended) return done(pass(ended, "balloon"));
                              done({});
                            });
  if (!asked) return pass(asked, "balloon");
  return {};
}

// The figures' own time is the host's wall clock, to a second; where that
// jumps back, they are new.
GuestFacts GuestLink::facts() const {
  GuestFacts facts = facts_;
  if (facts.balloon.count() > 0) facts.balloon += virtio_mem_;
  if (!facts.guest) return facts;
  const std::int64_t age_s = wall_ns() / kSecond - updated_s_;
  facts.guest->age = std::chrono::seconds{
      std::clamp<std::int64_t>(age_s, 0, std::int64_t{1} << 31)};
  return facts;
}

}  // namespace outrider
