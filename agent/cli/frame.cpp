// SPDX-License-Identifier: Apache-2.0
#include "agent/cli/frame.h"

#include <algorithm>
#include <utility>

namespace outrider {

FrameChoice frame_choice(const CommonOptions& common, const FrameFlags& flags) {
  FrameChoice choice;
  if (flags.csv) choice.form = FrameForm::kCsv;
  if (common.json) choice.form = FrameForm::kJson;
  if (flags.vcpus) choice.view.threads = ViewOptions::Threads::kShown;
  return choice;
}

std::string Frames::next(const View& view) {
  const bool is_first = !std::exchange(began_, true);
  switch (choice_.form) {
    case FrameForm::kJson:
      return view_json(view, choice_.view);
    case FrameForm::kCsv:
      return (is_first ? view_csv_header() : "") + view_csv(view, choice_.view);
    case FrameForm::kTable:
      break;
  }
  return (is_first ? "" : "\n") + view_table(view, choice_.view);
}

void put_name(std::vector<VmName>& names, VmName name) {
  const auto at = std::lower_bound(
      names.begin(), names.end(), name.id,
      [](const VmName& each, VmId id) { return each.id < id; });
  if (at != names.end() && at->id == name.id)
    *at = std::move(name);
  else
    names.insert(at, std::move(name));
}

}  // namespace outrider
