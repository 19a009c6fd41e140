// SPDX-License-Identifier: Apache-2.0
// What systemd is told (Type=notify). Without systemd, nothing happens.
#pragma once

#include <optional>

#include "agent/base/units.h"

namespace outrider {

/// The daemon answers and acts.
void notify_ready();
/// WatchdogSec: systemd kills whoever is silent for longer. None: it does not
/// watch. Say so at least twice as often.
std::optional<Duration> watchdog_period();
/// A tick was finished.
void notify_alive();
/// It ends on purpose, and is putting things back.
void notify_stopping();

}  // namespace outrider
