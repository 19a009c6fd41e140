// SPDX-License-Identifier: Apache-2.0
// What the agent before this one had learned, from its journal.
#pragma once

#include <string>

#include "agent/base/result.h"
#include "agent/core/controller.h"

namespace outrider {

/// `controller`, which has no VMs yet, inherits the state that the newest
/// segment in `directory` begins with, if it is of this boot and not older than
/// ten minutes; how long ago it was. Errors: there is none such; why.
Result<Duration> inherit_from_journal(const std::string& directory,
                                      const ForecasterFactory& make_forecaster,
                                      Instant now, Controller& controller);

}  // namespace outrider
