// SPDX-License-Identifier: Apache-2.0
#include "bench/eval/closed_loop.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <memory>

#include "tests/sim/sim_host.h"

namespace outrider::bench {
namespace {

using sim::SimFigures;
using sim::SimHost;

constexpr std::int64_t kTickMs = 10;
constexpr double kMilliOfPercent = 10;
constexpr double kUsInS = 1e6;
constexpr double kMilliMsInS = 1e6;
// Of a vCPU: the least that the kernel takes.
constexpr std::int64_t kCapLeast = 10;

sim::SimVmSpec vm_of(const eval::Series& series) {
  sim::SimVmSpec vm{.name = "replay", .uuid = "replay"};
  vm.trace.kind = sim::SimTraceSpec::Kind::kReplay;
  double most = 0;
  for (const double value : series.values) {
    const double percent = std::isnan(value) ? 0 : value;
    most = std::max(most, percent);
    vm.trace.replay.push_back(
        static_cast<std::int32_t>(std::lround(kMilliOfPercent * percent)));
  }
  vm.vcpus = std::max<std::int64_t>(
      1, static_cast<std::int64_t>(std::ceil(most / 100)));
  return vm;
}

/// One series under one setting.
class Loop {
 public:
  Loop(const eval::MethodRow& row, std::size_t setting,
       const eval::SeriesSet& set, const eval::Series& series)
      : set_(set),
        spec_(vm_of(series)),
        host_({.cpus = spec_.vcpus, .tick_ms = kTickMs, .vms = {spec_}}),
        method_(row.make({.scale = mean_milli(),
                          .capacity = static_cast<double>(1000 * spec_.vcpus),
                          .season = set.season})),
        allocations_(row.knob.size()),
        setting_(setting) {}

  void add_to(LoopPoint& point);

 private:
  double mean_milli() const;
  void tick();
  void set_caps(double milli);

  const eval::SeriesSet& set_;
  sim::SimVmSpec spec_;
  SimHost host_;
  std::unique_ptr<eval::Method> method_;
  std::vector<double> allocations_;
  std::size_t setting_;
  std::int64_t cap_ = 1000;  // of each vCPU, milli-CPU
};

double Loop::mean_milli() const {
  double sum = 0;
  for (const std::int32_t value : spec_.trace.replay) sum += value;
  return sum / static_cast<double>(spec_.trace.replay.size());
}

void Loop::tick() {
  const auto inputs = host_.tick().input.vms;
  if (inputs.empty()) return;  // it has just come
  double demand = 0;
  for (const std::int32_t part : inputs.front().demand) demand += part;
  demand = std::max(demand - inputs.front().overcounted, 0.0);
  method_->step(demand, allocations_);
  set_caps(allocations_[setting_]);
}

void Loop::set_caps(double milli) {
  const double most = static_cast<double>(1000 * spec_.vcpus);
  const auto cap =
      static_cast<std::int64_t>(std::ceil(std::clamp(milli, 0.0, most))) /
      spec_.vcpus;
  const std::int64_t each = std::max(cap, kCapLeast);
  if (each == cap_) return;
  cap_ = each;
  for (std::int64_t vcpu = 0; vcpu < spec_.vcpus; ++vcpu) {
    const Action action{.vm = host_.vms().front().id(),
                        .knob = Knob::kVcpuMax,
                        .index = static_cast<std::uint16_t>(vcpu),
                        .value = each};
    Outcome outcome;
    host_.apply({&action, 1}, {&outcome, 1});
  }
}

void Loop::add_to(LoopPoint& point) {
  const auto ticks = static_cast<std::int64_t>(spec_.trace.replay.size());
  const auto warm = static_cast<std::int64_t>(set_.warm_up);
  std::int64_t backlog = 0;
  std::int64_t stall = 0;
  for (std::int64_t tick_no = 0; tick_no < ticks; ++tick_no) {
    for (std::int64_t ms = 0; ms < kTickMs; ++ms) host_.step();
    const SimFigures& now = host_.figures(0);
    const std::int64_t late =
        std::max<std::int64_t>(now.backlog_us - backlog, 0);
    if (tick_no >= warm) {
      point.held +=
          static_cast<double>(cap_ * spec_.vcpus * kTickMs) / kMilliMsInS;
      point.unserved += static_cast<double>(late) / kUsInS;
      point.stall += static_cast<double>(now.stall_us - stall) / kUsInS;
    }
    backlog = now.backlog_us;
    stall = now.stall_us;
    tick();
  }
}

LoopPoint between(const LoopPoint& a, const LoopPoint& b, double held) {
  const double way = (held - a.held) / (b.held - a.held);
  const auto mix = [way](double from, double to) {
    return from + way * (to - from);
  };
  return {.knob = mix(a.knob, b.knob),
          .held = held,
          .unserved = mix(a.unserved, b.unserved),
          .stall = mix(a.stall, b.stall)};
}

const LoopPoint* point_at(const LoopCurve& curve, double knob) {
  const auto found = std::ranges::find(curve.points, knob, &LoopPoint::knob);
  return found == curve.points.end() ? nullptr : &*found;
}

}  // namespace

LoopCurve run_closed_loop(const eval::MethodRow& row,
                          const eval::SeriesSet& set) {
  LoopCurve curve{.method = row.name, .points = {}};
  for (std::size_t setting = 0; setting < row.knob.size(); ++setting) {
    LoopPoint& point = curve.points.emplace_back();
    point.knob = row.knob[setting];
    for (const eval::Series& series : set.series) {
      Loop(row, setting, set, series).add_to(point);
    }
  }
  return curve;
}

std::optional<LoopPoint> at_held(const LoopCurve& curve, double held) {
  for (std::size_t i = 1; i < curve.points.size(); ++i) {
    const LoopPoint& a = curve.points[i - 1];
    const LoopPoint& b = curve.points[i];
    const bool is_between = (a.held <= held && held <= b.held) ||
                            (b.held <= held && held <= a.held);
    if (is_between && a.held != b.held) return between(a, b, held);
  }
  return std::nullopt;
}

std::string loop_table(const std::vector<LoopCurve>& curves,
                       const LoopCurve& ours,
                       const std::vector<double>& knobs) {
  std::string text = "| method |";
  std::string rule = "|---|";
  for (const double knob : knobs) {
    const LoopPoint* point = point_at(ours, knob);
    text += fmt::format(" {:.1f} CPU s held: unserved (stall) |",
                        point != nullptr ? point->held : 0);
    rule += "---:|";
  }
  text += "\n" + rule + "\n";
  for (const LoopCurve& curve : curves) {
    text += fmt::format("| {} |", curve.method);
    for (const double knob : knobs) {
      const LoopPoint* point = point_at(ours, knob);
      const auto its = point != nullptr ? at_held(curve, point->held)
                                        : std::optional<LoopPoint>{};
      text += its ? fmt::format(" {:.2f} ({:.1f}) |", its->unserved, its->stall)
                  : " - |";
    }
    text += "\n";
  }
  return text;
}

std::string loop_json(const std::vector<LoopCurve>& curves,
                      const LoopCurve& ours, const std::vector<double>& knobs) {
  std::string text;
  for (const double knob : knobs) {
    const LoopPoint* point = point_at(ours, knob);
    if (point == nullptr) continue;
    std::string row;
    for (const LoopCurve& curve : curves) {
      const auto its = at_held(curve, point->held);
      row += fmt::format("{}\"{}\": ", row.empty() ? "" : ", ", curve.method);
      row += its ? fmt::format(
                       "{{\"held\": {:.3f}, \"unserved\": {:.4f}, "
                       "\"stall\": {:.4f}}}",
                       its->held, its->unserved, its->stall)
                 : "null";
    }
    text +=
        fmt::format("{}\"{}\": {{{}}}", text.empty() ? "" : ",\n ", knob, row);
  }
  return "{" + text + "}\n";
}

}  // namespace outrider::bench
