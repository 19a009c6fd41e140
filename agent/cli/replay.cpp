// SPDX-License-Identifier: Apache-2.0
// `outrider record --replay FILE`.
#include <fmt/format.h>

#include <cmath>
#include <cstring>
#include <string>
#include <variant>
#include <vector>

#include "agent/cli/ask.h"
#include "agent/cli/frame.h"
#include "agent/cli/record.h"
#include "agent/core/demand.h"
#include "agent/core/record.h"
#include "agent/sys/mapped_file.h"

namespace outrider {
namespace {

/// Takes a file's records one by one and shows one interval after another;
/// the time of each is in seconds from the first Sample.
/// Invariant: `last_` is the instant of the Sample that the next
/// interval begins at.
class Replay {
 public:
  Replay(Duration interval, const FrameChoice& choice)
      : interval_(interval), frames_(choice) {}

  // False: nobody reads the output any more.
  bool take(const CameVm& vm) {
    put_name(names_, {vm.id, vm.name});
    return true;
  }
  // The name stays: the interval under way may need it, and no later VM has
  // the same id.
  bool take(const WentVm&) { return true; }
  bool take(const Sample* sample) {
    if (samples_++ == 0) {
      first_ = sample->taken;
    } else if (sample->taken - last_ < interval_) {
      return true;
    }
    last_ = sample->taken;
    const Demand& demand = series_.update(*sample);
    if (samples_ == 1) return true;
    const std::chrono::duration<double> since = last_ - first_;
    const std::string time = fmt::format("{:.3f}", since.count());
    return put(frames_.next({time, *sample, demand, names_}));
  }

  std::uint64_t samples() const { return samples_; }

 private:
  Duration interval_;
  Frames frames_;
  std::vector<VmName> names_;
  DemandSeries series_;
  Instant first_{};
  Instant last_{};
  std::uint64_t samples_ = 0;
};

}  // namespace

int run_replay(const RecordOptions& options, const CommonOptions& common) {
  auto file = map_file(options.file);
  if (!file) return complain_of(file.error());
  Replay replay{Duration{std::llround(options.interval * 1e9)},
                frame_choice(common, options.flags)};
  RecordReader reader{file->span()};
  while (const auto entry = reader.next()) {
    const bool good = std::visit(
        [&replay](const auto& record) { return replay.take(record); }, *entry);
    if (!good) return kExitError;
  }
  if (!reader.damage()) return kExitOk;
  return complain(
      {kExitError,
       fmt::format("{}: damaged at byte {}: {}; {} samples before it are good",
                   options.file, reader.offset(), to_text(*reader.damage()),
                   replay.samples())});
}

}  // namespace outrider
