// SPDX-License-Identifier: Apache-2.0
// Methods that look at the values themselves: the last, the largest, a
// percentile, mean and deviation.
#pragma once

#include <array>
#include <memory>

#include "agent/eval/method.h"

namespace outrider::eval {

inline constexpr std::array<double, 15> kLastMargins = {
    0, .02, .05, .1, .2, .3, .5, .75, 1, 1.5, 2, 3, 5, 8, 12};
inline constexpr std::array<double, 13> kMaxWindows = {
    1, 2, 3, 5, 8, 12, 20, 32, 50, 80, 130, 200, 300};
inline constexpr std::array<double, 13> kSigmas = {0, .25, .5, 1, 1.5, 2, 2.5,
                                                   3, 4,   5,  6, 8,   10};

/// The last value times 1 + margin.
std::unique_ptr<Method> make_last_margin();
/// The most of the last so many values.
std::unique_ptr<Method> make_window_max();
std::unique_ptr<Method> make_window_percentile(std::size_t size);
/// Percentile of a histogram that forgets half in `half_life` ticks, times a
/// margin: Autopilot (Rzadca et al. 2020), Kubernetes' VPA.
std::unique_ptr<Method> make_decaying_histogram(double scale, double half_life,
                                                double margin);
/// Mean and deviation, both forgetting: Borg's overcommit (Bashir et al. 2021).
std::unique_ptr<Method> make_n_sigma(double gain);

}  // namespace outrider::eval
