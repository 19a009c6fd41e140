// SPDX-License-Identifier: Apache-2.0
#include "bench/loop/reaction.h"

#include <sys/epoll.h>
#include <unistd.h>

#include <cstdio>
#include <random>
#include <string>
#include <utility>

#include "agent/bpf_sensor.h"
#include "agent/sys/clock.h"
#include "agent/sys/event_loop.h"
#include "bench/loop/crowd.h"
#include "bench/loop/guest.h"
#include "bench/loop/task_groups.h"

namespace outrider::bench {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::seconds;

// As an agent with its defaults sets them: two ticks of a kernel with HZ=250,
// and 2 ms to react.
constexpr EdgeThresholds kEdges{.quota_left = milliseconds{10},
                                .wait_in_window = milliseconds{2}};
constexpr Duration kTickPeriod = milliseconds{20};
constexpr Duration kPollPeriod = seconds{1};
constexpr Duration kRunMax = seconds{55};
constexpr std::size_t kPollsMin = 20;
constexpr std::size_t kReliefsMin = 5;
const std::string kBaseUs = "20000";  // of a period of 100 ms

// Who raises a guest's cap: the answer to its edge; a tick, once the guest is
// throttled; or who looks each second.
enum class Care { kEdge, kTick, kPoller };

/// One edge that was answered.
struct Answer {
  Instant edge{};
  Instant write_begin{};
  Instant write_end{};
  bool was_throttled = false;  // by the end of the burst that it belongs to

  double latency_us() const {
    return std::chrono::duration<double, std::micro>(write_end - edge).count();
  }
};

struct Vm {
  Care care;
  TaskGroup group;
  Guest guest;
  std::vector<Answer> answers;
  bool is_raised = false;
  std::uint32_t burst = 0;      // in which it was raised
  std::uint64_t throttled = 0;  // periods, when it was looked at last
  Instant unanswered{};         // its first edge that nobody has answered
};

double us(Duration duration) {
  return std::chrono::duration<double, std::micro>(duration).count();
}

std::string raised_us() {
  // More than all the CPUs can run, so that nothing but the base cap binds.
  return std::to_string(sysconf(_SC_NPROCESSORS_ONLN) * 150'000);
}

/// The loop of an agent that does nothing but answer edges.
class Reaction {
 public:
  static Result<std::unique_ptr<Reaction>> start();
  Result<> run(std::size_t bursts);
  Result<std::vector<Figure>> figures();

 private:
  explicit Reaction(TaskGroups groups) : groups_(std::move(groups)) {}
  Result<> add_vm(Care care);
  Result<> watch();
  void adopt_vcpus();
  void on_event(const SensorEvent& event);
  void on_edge(Vm& vm, Instant at);
  void answer(Vm& vm, Instant edge);
  void lower(Vm& vm);
  void relieve(Vm& vm);
  void on_ping(Instant at);
  void tick();
  void poll();
  void write(const TaskGroup& group, const std::string& quota_us);
  std::size_t count(Care care) const;
  bool is_done(std::size_t bursts) const;
  Result<> check_counts();
  std::vector<Figure> relief_figures() const;

  // Guests end before their groups are removed.
  TaskGroups groups_;
  std::vector<Vm> vms_;  // VmId is the index + 1
  TaskGroup twin_;       // nobody is in it
  std::unique_ptr<BpfSensor> sensor_;
  std::unique_ptr<Crowd> crowd_;
  EventLoop events_;
  PeriodicTimer tick_timer_;
  PeriodicTimer poll_timer_;
  std::mt19937 random_{1};
  std::string raised_us_ = raised_us();
  std::vector<double> ping_us_;
  std::vector<double> poll_us_;
  std::uint64_t write_failures_ = 0;
  bool twin_is_raised_ = false;
};

Result<> Reaction::add_vm(Care care) {
  const auto number = static_cast<unsigned>(vms_.size() + 1);
  auto group = groups_.add(std::to_string(number));
  if (!group) return pass(group, "guest");
  auto capped = group->set_quota(kBaseUs);
  if (!capped) return pass(capped, "cap");
  auto guest = Guest::start(number);
  if (!guest) return pass(guest, "guest");
  auto moved = group->add(guest->pid());
  if (!moved) return pass(moved, "guest");
  Slots& slots = sensor_->slots();
  auto opened = slots.open(VmId{number}, guest->pid());
  if (!opened) return pass(opened, "guest");
  if (!slots.adopt(VmId{number}, guest->pid(), ThreadClass::kEmulator))
    return fail(0, "no slot for a guest");
  vms_.push_back(Vm{.care = care,
                    .group = *std::move(group),
                    .guest = *std::move(guest),
                    .answers = {},
                    .is_raised = false,
                    .burst = 0,
                    .throttled = 0,
                    .unanswered = {}});
  vms_.back().answers.reserve(1000);
  return {};
}

// A guest that has been switched and still works is runnable, as a thread is
// at its first entry into a guest.
void Reaction::adopt_vcpus() {
  usleep(300'000);
  for (std::size_t i = 0; i < vms_.size(); ++i) {
    const VmId id{static_cast<std::uint32_t>(i + 1)};
    sensor_->slots().pretend_vcpu(vms_[i].guest.pid());
    sensor_->slots().set_edges(id, kEdges);
    vms_[i].guest.release();
  }
  (void)sensor_->read(monotonic_now());
}

Result<> Reaction::watch() {
  auto events = EventLoop::make();
  if (!events) return pass(events, "loop");
  events_ = *std::move(events);
  auto tick_timer = PeriodicTimer::make(kTickPeriod);
  if (!tick_timer) return pass(tick_timer, "tick");
  tick_timer_ = *std::move(tick_timer);
  auto poll_timer = PeriodicTimer::make(kPollPeriod);
  if (!poll_timer) return pass(poll_timer, "poll");
  poll_timer_ = *std::move(poll_timer);
  const auto add = [this](int fd, auto handle) {
    return events_.watch(fd, EPOLLIN, [handle](std::uint32_t) { handle(); });
  };
  const std::function<void(const SensorEvent&)> on_event =
      [this](const SensorEvent& event) { this->on_event(event); };
  const std::function<void(Instant)> on_ping = [this](Instant at) {
    this->on_ping(at);
  };
  for (auto& watched :
       {add(sensor_->event_fd(),
            [this, on_event] { sensor_->take_events(on_event); }),
        add(crowd_->event_fd(),
            [this, on_ping] { crowd_->take_pings(on_ping); }),
        add(tick_timer_.fd(), [this] { tick(); }),
        add(poll_timer_.fd(), [this] { poll(); })}) {
    if (!watched) return fail(watched.error().code, watched.error().what);
  }
  return {};
}

Result<std::unique_ptr<Reaction>> Reaction::start() {
  auto groups = TaskGroups::make();
  if (!groups) return pass(groups, "reaction");
  std::unique_ptr<Reaction> reaction{new Reaction(*std::move(groups))};
  auto sensor = BpfSensor::make(SensorOptions{});
  if (!sensor) return pass(sensor, "eyes");
  reaction->sensor_ = *std::move(sensor);
  for (const Care care :
       {Care::kEdge, Care::kEdge, Care::kEdge, Care::kTick, Care::kPoller}) {
    auto added = reaction->add_vm(care);
    if (!added) return pass(added, "reaction");
  }
  auto twin = reaction->groups_.add("twin");
  if (!twin) return pass(twin, "reaction");
  reaction->twin_ = *std::move(twin);
  auto crowd = Crowd::start();
  if (!crowd) return pass(crowd, "reaction");
  reaction->crowd_ = *std::move(crowd);
  auto watched = reaction->watch();
  if (!watched) return pass(watched, "reaction");
  reaction->adopt_vcpus();
  return reaction;
}

void Reaction::write(const TaskGroup& group, const std::string& quota_us) {
  if (!group.set_quota(quota_us)) ++write_failures_;
}

void Reaction::on_event(const SensorEvent& event) {
  if (event.kind != SensorEvent::Kind::kQuotaEdge) return;
  const auto index = static_cast<std::size_t>(event.vm) - 1;
  if (index < vms_.size()) on_edge(vms_[index], event.at);
}

void Reaction::on_edge(Vm& vm, Instant at) {
  if (vm.is_raised) return;  // it was on its way when the last was answered
  if (vm.care != Care::kEdge) {
    if (vm.unanswered == Instant{}) vm.unanswered = at;
    return;
  }
  answer(vm, at);
  // The yardstick: as often as edges, some time apart from them.
  std::uniform_int_distribution<int> pause_us(3'000, 60'000);
  crowd_->ask_for_ping(monotonic_now() + microseconds{pause_us(random_)});
}

void Reaction::answer(Vm& vm, Instant edge) {
  Answer answer{.edge = edge, .write_begin = monotonic_now()};
  write(vm.group, raised_us_);
  answer.write_end = monotonic_now();
  vm.answers.push_back(answer);
  vm.is_raised = true;
  vm.burst = vm.guest.bursts_begun();
  vm.unanswered = {};
}

void Reaction::on_ping(Instant at) {
  write(twin_, std::exchange(twin_is_raised_, !twin_is_raised_) ? kBaseUs
                                                                : raised_us_);
  ping_us_.push_back(us(monotonic_now() - at));
}

void Reaction::tick() {
  if (tick_timer_.take() == 0) return;
  (void)sensor_->read(monotonic_now());
  for (Vm& vm : vms_) {
    if (vm.is_raised && vm.guest.bursts_done() >= vm.burst) lower(vm);
    if (vm.care == Care::kTick && !vm.is_raised) relieve(vm);
  }
}

// Takes back what a burst was given, as the loop does when the want is gone.
void Reaction::lower(Vm& vm) {
  write(vm.group, kBaseUs);
  const std::uint64_t throttled = vm.group.throttled();
  vm.answers.back().was_throttled = throttled != vm.throttled;
  vm.throttled = throttled;
  vm.is_raised = false;
}

// Answers an edge when it is too late: the group was throttled since the last
// tick, so it is now, most of the time.
void Reaction::relieve(Vm& vm) {
  const std::uint64_t throttled = vm.group.throttled();
  if (throttled == vm.throttled) return;
  answer(vm, vm.unanswered);
  vm.throttled = throttled;
}

// What agents do that look at cpu.stat each second, on a thread as prompt as
// ours. The cap is taken back at once, so that the next poll finds a new case.
void Reaction::poll() {
  if (poll_timer_.take() == 0) return;
  for (Vm& vm : vms_) {
    if (vm.care != Care::kPoller) continue;
    const std::uint64_t throttled = vm.group.throttled();
    if (throttled == vm.throttled || vm.unanswered == Instant{}) continue;
    write(vm.group, raised_us_);
    poll_us_.push_back(us(monotonic_now() - vm.unanswered));
    write(vm.group, kBaseUs);
    vm.throttled = vm.group.throttled();
    vm.unanswered = {};
  }
}

std::size_t Reaction::count(Care care) const {
  std::size_t answers = 0;
  for (const Vm& vm : vms_) {
    if (vm.care == care) answers += vm.answers.size();
  }
  return answers;
}

bool Reaction::is_done(std::size_t bursts) const {
  return count(Care::kEdge) >= bursts && count(Care::kTick) >= kReliefsMin &&
         poll_us_.size() >= kPollsMin;
}

Result<> Reaction::run(std::size_t bursts) {
  const Instant end = monotonic_now() + kRunMax;
  while (!is_done(bursts) && monotonic_now() < end) {
    auto turned = events_.turn(kTickPeriod);
    if (!turned) return pass(turned, "loop");
  }
  if (is_done(bursts)) return {};
  return fail(0, "only " + std::to_string(count(Care::kEdge)) + " edges, " +
                     std::to_string(count(Care::kTick)) + " reliefs and " +
                     std::to_string(poll_us_.size()) + " polls in time");
}

Result<> Reaction::check_counts() {
  const std::uint64_t lost = sensor_->read(monotonic_now()).lost;
  if (lost != 0) return fail(0, std::to_string(lost) + " events were lost");
  if (write_failures_ != 0)
    return fail(0, std::to_string(write_failures_) + " writes failed");
  // One may be on its way.
  if (ping_us_.size() + 1 < crowd_->pings_told())
    return fail(0, "calls of the yardstick were lost");
  return {};
}

// Of a guest that was throttled: it did not run when the write began, and says
// itself when it ran again.
std::vector<Figure> Reaction::relief_figures() const {
  std::vector<double> relief_us;
  std::size_t answers = 0;
  for (const Vm& vm : vms_) {
    if (vm.care != Care::kTick) continue;
    answers += vm.answers.size();
    for (const Answer& answer : vm.answers) {
      Gap gap;
      if (!vm.guest.find_gap(answer.write_begin, gap)) continue;
      const Instant runs{std::chrono::nanoseconds{gap.end_ns}};
      relief_us.push_back(us(runs - answer.write_begin));
    }
  }
  if (relief_us.empty()) return {};
  Figure typical = figure_of("write_to_running_p50", "us", relief_us, 0);
  typical.yardstick = std::to_string(relief_us.size()) + " of " +
                      std::to_string(answers) +
                      " writes to a throttled group; its CPU is busy";
  Figure late = typical;
  late.name = "write_to_running_p99";
  late.value = quantile(relief_us, 0.99);
  return {typical, late};
}

Result<std::vector<Figure>> Reaction::figures() {
  auto right = check_counts();
  if (!right) return pass(right, "wrong");
  std::vector<double> edge_us;
  double in_time = 0;
  for (const Vm& vm : vms_) {
    if (vm.care != Care::kEdge) continue;
    for (const Answer& answer : vm.answers) {
      edge_us.push_back(answer.latency_us());
      if (!answer.was_throttled) ++in_time;
    }
  }
  std::vector<Figure> figures;
  const auto add = [&](Figure figure, double value, std::string beside) {
    figure.value = value;
    figure.yardstick = std::move(beside);
    figures.push_back(std::move(figure));
  };
  const std::string edges = std::to_string(edge_us.size()) + " edges";
  const std::string pings =
      std::to_string(ping_us_.size()) + " bare ring calls and pwrites";
  const double p50 = quantile(edge_us, 0.5);
  const double p99 = quantile(edge_us, 0.99);
  const double ping_p50 = quantile(ping_us_, 0.5);
  const double ping_p99 = quantile(ping_us_, 0.99);
  add(figure_of("edge_to_write_p50", "us", edge_us, 80), p50, edges);
  add(figure_of("edge_to_write_p99", "us", edge_us, 500), p99, edges);
  add(figure_of("ring_to_write_p50", "us", ping_us_, 0), ping_p50, pings);
  add(figure_of("ring_to_write_p99", "us", ping_us_, 0), ping_p99, pings);
  const auto ratio = [&](const char* name, double value, double limit) {
    Figure figure = figure_of(name, "x", {value}, limit);
    figure.at_least = limit >= 100;
    return figure;
  };
  add(ratio("edge_over_ring_p50", p50 / ping_p50, 1.5), p50 / ping_p50, pings);
  add(ratio("edge_over_ring_p99", p99 / ping_p99, 2), p99 / ping_p99, pings);
  const double faster = median(poll_us_) / p50;
  add(ratio("faster_than_1s_poller", faster, 1000), faster,
      "median of " + std::to_string(poll_us_.size()) + " polls: " +
          std::to_string(static_cast<int>(median(poll_us_) / 1000)) + " ms");
  Figure unthrottled = ratio("bursts_not_throttled", 0, 0);
  unthrottled.unit = "%";
  const double share = 100 * in_time / static_cast<double>(edge_us.size());
  unthrottled.low = unthrottled.high = share;
  add(unthrottled, share, "of the bursts whose edges were answered");
  for (Figure& figure : relief_figures()) figures.push_back(std::move(figure));
  return figures;
}

}  // namespace

Result<std::vector<Figure>> measure_reaction(const ReactionOptions& options) {
  fprintf(stderr, "loop: bursts of capped guests, every CPU busy ...\n");
  auto reaction = Reaction::start();
  if (!reaction) return pass(reaction, "cannot measure");
  auto ran = (*reaction)->run(options.bursts);
  if (!ran) return pass(ran, "reaction");
  return (*reaction)->figures();
}

}  // namespace outrider::bench
