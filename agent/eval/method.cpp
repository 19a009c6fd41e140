// SPDX-License-Identifier: Apache-2.0
#include "agent/eval/method.h"

#include <algorithm>

#include "agent/eval/csoaa.h"
#include "agent/eval/outrider_method.h"
#include "agent/eval/percentile_methods.h"
#include "agent/eval/point_methods.h"
#include "agent/eval/window_quantiles.h"

namespace outrider::eval {
namespace {

template <std::size_t kSize>
std::vector<double> as_vector(const std::array<double, kSize>& values) {
  return {values.begin(), values.end()};
}

MethodRow percentile_row(std::size_t window) {
  return {
      "window-pct-" + std::to_string(window), as_vector(kTaus), false,
      [window](const SeriesFacts&) { return make_window_percentile(window); }};
}

MethodRow histogram_row(const char* name, double half_life, double margin) {
  return {name, as_vector(kTaus), false,
          [half_life, margin](const SeriesFacts& facts) {
            return make_decaying_histogram(facts.scale, half_life, margin);
          }};
}

template <class Make>
MethodRow residual_row(const char* name, bool needs_season, Make make) {
  return {name, as_vector(kTaus), needs_season,
          [make](const SeriesFacts& facts) {
            return make_with_residuals(make(facts));
          }};
}

}  // namespace

std::vector<MethodRow> methods() {
  return {
      outrider_row(),
      {"last-margin", as_vector(kLastMargins), false,
       [](const SeriesFacts&) { return make_last_margin(); }},
      {"window-max", as_vector(kMaxWindows), false,
       [](const SeriesFacts&) { return make_window_max(); }},
      percentile_row(60),
      percentile_row(256),
      histogram_row("autopilot-like", 144, 1),
      histogram_row("vpa-like", 288, 1.15),
      {"n-sigma", as_vector(kSigmas), false,
       [](const SeriesFacts&) { return make_n_sigma(1.0 / 30); }},
      residual_row("last", false,
                   [](const SeriesFacts&) { return make_last(); }),
      residual_row("ewma", false,
                   [](const SeriesFacts&) { return make_ewma(0.3); }),
      residual_row("holt", false,
                   [](const SeriesFacts&) { return make_damped_holt(); }),
      residual_row("holt-winters", true,
                   [](const SeriesFacts& facts) {
                     return make_holt_winters(facts.season);
                   }),
      residual_row("cloudscale-like", false,
                   [](const SeriesFacts&) { return make_cloudscale(); }),
      {"smartharvest-like", as_vector(kCostRatios), false,
       [](const SeriesFacts&) { return make_csoaa(); }},
  };
}

const MethodRow* find_method(std::span<const MethodRow> rows,
                             std::string_view name) {
  const auto found =
      std::find_if(rows.begin(), rows.end(),
                   [name](const MethodRow& row) { return row.name == name; });
  return found == rows.end() ? nullptr : &*found;
}

}  // namespace outrider::eval
