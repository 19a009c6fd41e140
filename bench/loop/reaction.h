// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <vector>

#include "agent/base/result.h"
#include "bench/probe/figures.h"

namespace outrider::bench {

struct ReactionOptions {
  std::size_t bursts = 250;  // edges to answer, at least
};

/// How soon a cap is raised when a VM is about to meet it, and how soon a VM
/// that did meet it runs again; beside a bare call through a ring and a poller
/// of 1 s in the same run. Errors: this machine cannot measure it, or what was
/// measured is wrong: events were lost, or too few came.
Result<std::vector<Figure>> measure_reaction(const ReactionOptions& options);

}  // namespace outrider::bench
