// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "agent/cli/commands.h"

namespace outrider {

/// `outrider explain VM --at T`: as the daemon would have said at T.
struct ExplainAt {
  std::string vm;  // name, UUID or number
  std::string time;
  std::string journal;  // its directory, or a segment
};
int run_explain_at(const ExplainAt& wanted, const CommonOptions& common);

}  // namespace outrider
