// SPDX-License-Identifier: Apache-2.0
#include "agent/guest_resize.h"

#include <array>
#include <utility>

#include "agent/sys/clock.h"

namespace outrider {
namespace {

constexpr Duration kLookPeriod = std::chrono::milliseconds{50};
// ACPI 6.3, 6.3.5: the source of an ejection request that software began, and
// what a guest says of one that it has not refused.
constexpr std::int64_t kOstEjection = 3;
constexpr std::int64_t kOstOfOspm = 0x103;
constexpr std::int64_t kOstSuccess = 0;
constexpr std::int64_t kOstInProgress = 0x84;

std::string refusal_text(std::int64_t status) {
  switch (status) {
    case 0x80:
      return "its hot-plug is not supported by the guest";
    case 0x81:
      return "the guest says that it is in use";
    case 0x82:
      return "the guest says that what depends on it is busy";
    case 0x83:
      return "the guest is about to eject it or cannot";
    default:
      return "the guest refuses (ACPI _OST status " + std::to_string(status) +
             ")";
  }
}

std::string last_name(const std::string& path) {
  return path.substr(path.rfind('/') + 1);
}

bool is_unplug(const ResizeStep& step) {
  return step.kind == ResizeStep::Kind::kUnplugCpu ||
         step.kind == ResizeStep::Kind::kUnplugDimm;
}

std::string describe(const ResizeStep& step) {
  return std::string(to_text(step.kind)) + ' ' + step.device;
}

}  // namespace

std::string_view to_text(ResizePhase phase) {
  constexpr std::array<std::string_view, 5> kTexts = {
      "looking", "planned", "moving", "done", "failed"};
  return kTexts[static_cast<std::size_t>(phase)];
}

GuestResize::GuestResize(qmp::Client& client, ResizeOptions options)
    : client_(client), options_(std::move(options)) {
  begun_ = now_ = monotonic_now();
}

template <class T>
void GuestResize::ask(const qmp::Verb<T>& verb,
                      std::function<void(Result<T>)> then) {
  const auto asked =
      client_.ask(verb, [this, alive = std::weak_ptr<bool>(alive_),
                         then = std::move(then)](Result<T> answer) {
        if (alive.expired()) return;
        is_asking_ = false;
        now_ = monotonic_now();
        if (!is_over()) then(std::move(answer));
      });
  is_asking_ = asked.has_value();
  if (!asked) fail_with(asked.error().what);
}

void GuestResize::advance(Instant now) {
  now_ = now;
  if (is_over()) return;
  if (now - begun_ > options_.patience) {
    return fail_with(overdue_text());
  }
  if (is_asking_ || now < look_at_) return;
  if (client_.state() != qmp::State::kReady) return;
  look(Look::kSize);
}

std::string GuestResize::overdue_text() const {
  if (progress_.phase == ResizePhase::kMoving) {
    return describe(step()) + ": the guest did not do it in time";
  }
  return missed_.empty() ? "qmp is " + std::string(name_of(client_.state()))
                         : missed_;
}

// One look in vain is no failure: the next may see.
void GuestResize::missed(const Error& error) { missed_ = error.what; }

void GuestResize::look(Look next) {
  look_at_ = now_ + kLookPeriod;
  switch (next) {
    case Look::kSize:
      seen_ = {};
      return ask<qmp::MemorySize>(qmp::query_memory_size_summary(),
                                  [this](auto size) {
                                    if (!size) return missed(size.error());
                                    seen_.base = size->base;
                                    look(Look::kDevices);
                                  });
    case Look::kDevices:
      return ask<std::vector<qmp::MemoryDevice>>(
          qmp::query_memory_devices(), [this](auto devices) {
            if (!devices) return missed(devices.error());
            seen_.devices = std::move(*devices);
            look(Look::kCpus);
          });
    case Look::kCpus:
      return ask<std::vector<qmp::CpuSlot>>(qmp::query_hotpluggable_cpus(),
                                            [this](auto slots) {
                                              // A machine without such slots
                                              // refuses: then it has none.
                                              if (slots)
                                                seen_.slots = std::move(*slots);
                                              look(Look::kBalloon);
                                            });
    case Look::kBalloon:
      return ask<Bytes>(qmp::query_balloon(), [this](auto left) {
        // Refused where there is no device, or the guest has no driver.
        if (left) seen_.balloon = *left;
        look(Look::kNone);
      });
    case Look::kNone:
      return looked();
  }
}

void GuestResize::looked() {
  progress_.shape = seen_;
  if (progress_.phase == ResizePhase::kMoving) return check_step();
  auto steps = plan_resize(seen_, options_.wish, options_.least);
  if (!steps) return fail_with(steps.error().what);
  progress_.steps = std::move(*steps);
  if (options_.dry_run) {
    progress_.phase = ResizePhase::kPlanned;
    return;
  }
  progress_.phase = ResizePhase::kMoving;
  begin_step();
}

void GuestResize::begin_step() {
  if (progress_.took.size() == progress_.steps.size()) {
    progress_.phase = ResizePhase::kDone;
    return;
  }
  begun_ = now_;
  was_sent_ = false;
  progress_.reached = step().from;
  send_step(step());
}

void GuestResize::send_step(const ResizeStep& step) {
  const auto taken = [this](Result<qmp::Done> done) {
    step_taken(std::move(done));
  };
  switch (step.kind) {
    case ResizeStep::Kind::kBalloon:
      return ask<qmp::Done>(qmp::balloon(step.to), taken);
    case ResizeStep::Kind::kVirtioMem:
      return ask<qmp::Done>(
          qmp::set_requested_size(
              std::string(qmp::kPeripheral) + '/' + step.device, step.to),
          taken);
    case ResizeStep::Kind::kPlugDimm:
      return plug_dimm(step);
    case ResizeStep::Kind::kPlugCpu:
      return ask<qmp::Done>(qmp::plug_cpu(step.slot, step.device), taken);
    case ResizeStep::Kind::kUnplugDimm:
    case ResizeStep::Kind::kUnplugCpu:
      return ask<qmp::Done>(qmp::device_del(step.device), taken);
  }
}

void GuestResize::plug_dimm(const ResizeStep& step) {
  const std::string memdev = step.device + "-memory";
  ask<qmp::Done>(qmp::object_add_ram(memdev, step.to),
                 [this, memdev, id = step.device](Result<qmp::Done> made) {
                   if (!made) return step_taken(std::move(made));
                   ask<qmp::Done>(
                       qmp::plug_dimm(id, memdev),
                       [this, memdev](Result<qmp::Done> plugged) {
                         if (plugged) return step_taken(std::move(plugged));
                         // What was made for it goes; why it failed is what is
                         // told.
                         const std::string why = plugged.error().what;
                         ask<qmp::Done>(qmp::object_del(memdev),
                                        [this, why](Result<qmp::Done>) {
                                          step_taken(fail(0, why));
                                        });
                       });
                 });
}

void GuestResize::step_taken(Result<qmp::Done> taken) {
  // QEMU 6.2 to 8.0 says that an unplug which it has asked the guest for
  // already is under way: then that one is waited for.
  const bool is_under_way =
      !taken && is_unplug(step()) &&
      taken.error().what.find("process of unplug") != std::string::npos;
  if (!taken && !is_under_way) {
    return fail_with(describe(step()) + ": " + taken.error().what);
  }
  was_sent_ = true;
  look_at_ = now_;
}

void GuestResize::check_step() {
  if (!was_sent_) return;
  progress_.reached = reached(step(), seen_);
  if (!is_done(step(), seen_)) return;
  clean_up(step());
}

// The backend of a DIMM that is gone is nobody's any more.
void GuestResize::clean_up(const ResizeStep& done) {
  const auto next = [this] {
    progress_.took.push_back(now_ - begun_);
    begin_step();
  };
  if (done.kind != ResizeStep::Kind::kUnplugDimm) return next();
  ask<qmp::Done>(qmp::object_del(last_name(done.memdev)),
                 [next](Result<qmp::Done>) { next(); });
}

void GuestResize::on_event(const qmp::KnownEvent& event) {
  if (progress_.phase != ResizePhase::kMoving) return;
  look_at_ = {};  // whatever it is: it may be what is waited for
  if (!is_unplug(step())) return;
  const auto is_its = [this](const std::string& id) {
    return !id.empty() &&
           (id == step().device || id == last_name(step().device));
  };
  if (const auto* refused = std::get_if<qmp::DeviceUnplugGuestError>(&event)) {
    if (is_its(refused->id)) {
      fail_with(describe(step()) + ": the guest refuses to give it up");
    }
    return;
  }
  const auto* ost = std::get_if<qmp::AcpiDeviceOst>(&event);
  if (ost == nullptr || !is_its(ost->id)) return;
  if (ost->source != kOstEjection && ost->source != kOstOfOspm) return;
  if (ost->status == kOstSuccess || ost->status == kOstInProgress) return;
  fail_with(describe(step()) + ": " + refusal_text(ost->status));
}

void GuestResize::fail_with(std::string why) {
  progress_.phase = ResizePhase::kFailed;
  progress_.why = std::move(why);
}

}  // namespace outrider
